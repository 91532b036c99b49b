"""Train a compact ResNet on CIFAR-10.

A smoke run on a CPU, less than a minute: python projects/cifar10/train.py --limit 2000 --epochs 1
In earnest, on a GPU: python projects/cifar10/train.py --epochs 60 --batch-size 256 --lr 0.2 --evaluate
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import DataLoader

import mlflow_pt_eval as mpe
from mlflow_pt_eval.cli.params import folder, one_line_errors, optional, positive_int, training_parser

import data
from model import CifarNet


def main() -> None:
    """Train, register the best epoch, and evaluate it if asked to."""
    parser = training_parser(__doc__, epochs=30, lr=0.1, batch_size=128, patience=10, register_as="cifar10")
    parser.add_argument("--data-dir", type=optional(folder), help="folder with the files (files, beside this script)")
    parser.add_argument("--limit", type=optional(positive_int), help="train on the first images only (all)")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(args.seed)
    train, validation, test = data.splits(args.data_dir, args.limit)
    pixels = train.images[:5000].float()
    model = CifarNet(mean=pixels.mean((0, 2, 3)), std=pixels.std((0, 2, 3))).to(device)
    decay = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, **decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    criterion = nn.CrossEntropyLoss()
    shuffling = torch.Generator().manual_seed(args.seed)
    train_loader = DataLoader(train, batch_size=args.batch_size, shuffle=True, generator=shuffling)
    validation_loader = DataLoader(validation, batch_size=500)

    with mpe.TrainingRun(
        {"model": model, "optimizer": optimizer, "scheduler": scheduler},
        callbacks=[
            mpe.ModelCheckpoint(monitor="val_accuracy", mode="max", save_top_k=3),
            mpe.EarlyStopping(monitor="val_loss", mode="min", patience=args.patience),
            mpe.RegisterBest(args.register_as, monitor="val_accuracy", mode="max", input_example=pixels[:2]),
        ],
        params={"lr": args.lr, "batch_size": args.batch_size, "seed": args.seed, "limit": args.limit},
        resume=args.resume or None,
        run_name="cifar10",
    ) as run:
        for _ in run.epochs(args.epochs):
            model.train()
            for x, y in run.batches(train_loader):
                loss = criterion(model(data.augment(x.to(device))), y.to(device))
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
