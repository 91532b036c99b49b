"""`mlflow-pt-eval versions NAME`."""

from __future__ import annotations

import argparse
from typing import Any

from mlflow_pt_eval.cli.output import print_json, print_table
from mlflow_pt_eval.cli.params import Parser, model_name


def add_parsers(verbs: Any, common: Parser) -> None:
    """Add the verb to the command line."""
    text = "show a model's versions with their aliases and metrics, or how its aliases moved"
    example = "example: mlflow-pt-eval versions digits --history"
    parser = verbs.add_parser(
        "versions", help=text, description=text.capitalize() + ".", epilog=example, parents=[common]
    )
    parser.add_argument("name", metavar="NAME", type=model_name, help="the registered model")
    parser.add_argument("--history", action="store_true", help="show every move of an alias instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from mlflow_pt_eval.promotion import history, versions

    frame = history(args.name) if args.history else versions(args.name)
    rows = frame.astype(object).where(frame.notna(), None)
    if args.json:
        print_json(rows.to_dict(orient="records"))
    else:
        print_table(list(frame.columns), rows.to_numpy().tolist())
    return 0
