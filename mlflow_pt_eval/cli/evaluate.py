"""`mlflow-pt-eval evaluate MODEL_URI --data SPEC`."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mlflow_pt_eval.cli.output import print_json
from mlflow_pt_eval.cli.params import Parser, add_reading_options, optional, positive_int

# What says how to predict, which stored predictions are long past.
_OF_A_MODEL = (
    *("model_uri", "data", "target", "split", "batch_size"),
    *("device", "class_names", "classes", "task", "outputs", "run_id"),
)
_EXAMPLE = "example: mlflow-pt-eval evaluate models:/digits@challenger --data projects.digits.data:test"


def add_parsers(verbs: Any, common: Parser) -> None:
    """Add the verb to the command line."""
    text = "evaluate a registered version, a run's model or a model folder on a data set, as an MLflow run"
    parser = verbs.add_parser("evaluate", help=text, description=text + ".", epilog=_EXAMPLE, parents=[common])
    add = parser.add_argument
    add(
        "model_uri",
        metavar="MODEL_URI",
        nargs="?",
        default="",
        help="models:/NAME/3, models:/NAME@ALIAS, runs:/…, a folder",
    )
    add("--data", metavar="SPEC", default="", help="package.module:callable, or a .npz, .csv or .parquet file")
    add_reading_options(parser)
    add("--split", default="test", help="the name of the data, in front of each metric (test)")
    add("--batch-size", type=positive_int, default=256, help="examples in a batch (256)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, or auto")
    add("--task", choices=("auto", "binary", "multiclass", "multilabel"), default="auto")
    add("--outputs", choices=("auto", "logits", "probabilities"), default="auto", help="what the model returns")
    add(
        "--run-id",
        type=optional(str),
        help="the run to write to (to a child of it, if it holds something of ours already)",
    )
    add("--from-run", type=optional(str), metavar="RUN_ID", help="recompute an evaluation from its stored predictions")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the metrics."""
    if args.from_run is None and not (args.model_uri and args.data):
        args.parser.error("give MODEL_URI and --data SPEC, or --from-run RUN_ID")
    if args.from_run is not None and (given := _given(args)):
        args.parser.error(f"{', '.join(given)} does not go with --from-run, whose predictions are made: leave it out")
    from mlflow_pt_eval.evaluation import evaluate, recompute
    from mlflow_pt_eval.metrics.tables import metrics_text

    if args.from_run is not None:
        result = recompute(args.from_run)
        for warning in result.warnings:  # `evaluate` has said its own already
            print(warning, file=sys.stderr)
    else:
        result = evaluate(
            args.model_uri,
            args.data,
            target=args.target,
            task=args.task,
            outputs=args.outputs,
            class_names=args.class_names,
            classes=args.classes,
            split=args.split,
            device=args.device,
            batch_size=args.batch_size,
            run_id=args.run_id,
        )
    if args.json:
        print_json(result.to_json())
        return 0
    print(f"{result.model_uri or 'predictions'} on {result.n_samples} samples, dataset digest {result.dataset_digest}")
    keys = [key for key in result.metrics if key != "n_samples"]
    print(metrics_text(result, keys, prefix=f"{result.split}_"))
    print(f"run: {result.run_id}")
    return 0


def _given(args: argparse.Namespace) -> list[str]:
    """Return what was given, other than its default, of that which is said of a model and its data."""
    given = (name for name in _OF_A_MODEL if getattr(args, name) != args.parser.get_default(name))
    return ["MODEL_URI" if name == "model_uri" else f"--{name.replace('_', '-')}" for name in given]
