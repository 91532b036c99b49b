"""Train a two-class model with one logit on scikit-learn's breast-cancer set.

Try: python projects/breast_cancer/train.py --epochs 10
"""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

import mlflow_pt_eval as mpe
from mlflow_pt_eval.cli.params import one_line_errors, training_parser

import data
from model import TumourNet


def criterion(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of (N, 1) logits for (N,) classes 0 and 1."""
    return binary_cross_entropy_with_logits(logits.squeeze(1), y.float())


def main() -> None:
    """Train, register the best epoch, and evaluate it if asked to."""
    defaults = {"epochs": 60, "lr": 0.003, "batch_size": 32, "patience": 15, "register_as": "breast_cancer"}
    args = training_parser(__doc__, **defaults).parse_args()
    torch.set_num_threads(1)  # faster for so small a network, and the weights don't depend on the number of cores
    torch.manual_seed(args.seed)
    train, validation, test = data.splits()
    measurements = train.tensors[0]
    model = TumourNet(mean=measurements.mean(0), std=measurements.std(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    shuffling = torch.Generator().manual_seed(args.seed)
    train_loader = DataLoader(train, batch_size=args.batch_size, shuffle=True, generator=shuffling)
    validation_loader = DataLoader(validation, batch_size=256)

    with mpe.TrainingRun(
        {"model": model, "optimizer": optimizer},
        callbacks=[
            mpe.ModelCheckpoint(monitor="val_loss", mode="min", save_top_k=1),
            mpe.EarlyStopping(monitor="val_loss", mode="min", patience=args.patience),
            mpe.RegisterBest(args.register_as, monitor="val_loss", mode="min", input_example=measurements[:2]),
        ],
        params={"lr": args.lr, "batch_size": args.batch_size, "seed": args.seed},
        resume=args.resume or None,
        run_name="breast_cancer",
    ) as run:
        for _ in run.epochs(args.epochs):
            model.train()
            for x, y in run.batches(train_loader):
                loss = criterion(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log_step(train_loss=loss)
            run.log(**mpe.validate(model, validation_loader, criterion))

    if run.registered_version is None:
        return
    uri = f"models:/{args.register_as}/{run.registered_version}"
    print(f"The best epoch is {uri}.")
    if args.evaluate:
        evaluation = mpe.evaluate(uri, test, class_names=data.CLASS_NAMES)
        print(f"Its test accuracy is {evaluation.metrics['accuracy']:.4f}, on {evaluation.n_samples} examples.")


if __name__ == "__main__":
    with one_line_errors():
        main()
