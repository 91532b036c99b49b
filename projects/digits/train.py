"""Train a small network on scikit-learn's digits.

Try: python projects/digits/train.py --epochs 3
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import mlflow_pt_eval as mpe
from mlflow_pt_eval.cli.launching import in_processes
from mlflow_pt_eval.cli.params import one_line_errors, positive_int, training_parser

import data
from model import DigitsNet


def main() -> None:
    """Train, register the best epoch, and evaluate it if asked to."""
    parser = training_parser(__doc__, epochs=20, lr=0.001, batch_size=64, patience=5, register_as="digits")
    parser.add_argument("--nproc", type=positive_int, default=1, help="processes that share each epoch (%(default)s)")
    args = parser.parse_args()
    in_processes(args.nproc)  # from here on in each of them
    torch.set_num_threads(1)  # faster for so small a network, and the weights don't depend on the number of cores
    torch.manual_seed(args.seed)
    train, validation, test = data.splits()
    pixels = train.tensors[0]
    model = DigitsNet(mean=pixels.mean(), std=pixels.std())
    criterion = nn.CrossEntropyLoss()
    shuffling = torch.Generator().manual_seed(args.seed)
    train_loader = DataLoader(train, batch_size=args.batch_size, shuffle=True, generator=shuffling)
    validation_loader = DataLoader(validation, batch_size=256)
    shares = None
    if args.nproc > 1:
        dist.init_process_group("gloo")
        torch.manual_seed(args.seed + dist.get_rank())  # the weights are rank 0's, dropout is each one's own
        model = DistributedDataParallel(model)
        shares = DistributedSampler(train, seed=args.seed)
        train_loader = DataLoader(train, batch_size=args.batch_size, sampler=shares)
        validation_loader = DataLoader(validation, batch_size=256, sampler=DistributedSampler(validation))
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

    with mpe.TrainingRun(
        {"model": model, "optimizer": optimizer},
        callbacks=[
            mpe.ModelCheckpoint(monitor="val_accuracy", mode="max", every_n_epochs=2),
            mpe.EarlyStopping(monitor="val_loss", mode="min", patience=args.patience),
            mpe.RegisterBest(args.register_as, monitor="val_accuracy", mode="max", input_example=pixels[:2]),
        ],
        params={"lr": args.lr, "batch_size": args.batch_size, "seed": args.seed, "nproc": args.nproc},
        resume=args.resume or None,
        run_name="digits",
    ) as run:
        for epoch in run.epochs(args.epochs):
            if shares is not None:
                shares.set_epoch(epoch)
            model.train()
            for x, y in run.batches(train_loader):
                loss = criterion(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log_step(train_loss=loss)
            run.log(**mpe.validate(model, validation_loader, criterion))

    if run.registered_version is None or int(os.environ.get("RANK", "0")) > 0:
        return
    uri = f"models:/{args.register_as}/{run.registered_version}"
    print(f"The best epoch is {uri}.")
    if args.evaluate:
        evaluation = mpe.evaluate(uri, test, class_names=data.CLASS_NAMES)
        print(f"Its test accuracy is {evaluation.metrics['accuracy']:.4f}, on {evaluation.n_samples} examples.")


if __name__ == "__main__":
    with one_line_errors():
        main()
