"""Train a small CNN on MNIST: more than 99 % of the test images after six epochs, a few minutes on two CPU cores.

Try: python projects/mnist/train.py --epochs 1
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader

import mlflow_pt_eval as mpe
from mlflow_pt_eval.cli.params import folder, one_line_errors, optional, training_parser

import data
from model import MnistNet


def main() -> None:
    """Train, register the best epoch, and evaluate it if asked to."""
    parser = training_parser(__doc__, epochs=6, lr=0.003, batch_size=128, patience=3, register_as="mnist")
    parser.add_argument("--data-dir", type=optional(folder), help="folder with the files (files, beside this script)")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    train, validation, test = data.splits(args.data_dir)
    pixels = train.tensors[0]
    model = MnistNet(mean=pixels.mean(), std=pixels.std()).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    criterion = nn.CrossEntropyLoss()
    shuffling = torch.Generator().manual_seed(args.seed)
    train_loader = DataLoader(train, batch_size=args.batch_size, shuffle=True, generator=shuffling)
    validation_loader = DataLoader(validation, batch_size=500)

    with mpe.TrainingRun(
        {"model": model, "optimizer": optimizer, "scheduler": scheduler},
        callbacks=[
            mpe.ModelCheckpoint(monitor="val_accuracy", mode="max", every_n_epochs=2),
            mpe.EarlyStopping(monitor="val_loss", mode="min", patience=args.patience),
            mpe.RegisterBest(args.register_as, monitor="val_accuracy", mode="max", input_example=pixels[:2]),
        ],
        params={"lr": args.lr, "batch_size": args.batch_size, "seed": args.seed},
        resume=args.resume or None,
        run_name="mnist",
    ) as run:
        for _ in run.epochs(args.epochs):
            model.train()
            for x, y in run.batches(train_loader):
                loss = criterion(model(x.to(device)), y.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log_step(train_loss=loss)
            scheduler.step()
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
