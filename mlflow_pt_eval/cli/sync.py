"""`mlflow-pt-eval sync [RUN_ID]`."""

from __future__ import annotations

import argparse
from typing import Any

from mlflow_pt_eval.cli.output import print_json
from mlflow_pt_eval.cli.params import Parser, optional


def add_parsers(verbs: Any, common: Parser) -> None:
    """Add the verb to the command line."""
    text = "send what an outage left in .mlflow_pt_eval/ of this folder; a resume does it by itself"
    parser = verbs.add_parser(
        "sync", help=text, description=text.capitalize() + ".", epilog="example: mlflow-pt-eval sync", parents=[common]
    )
    parser.add_argument("run_id", metavar="RUN_ID", nargs="?", type=optional(str), help="one run (all)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Send, and say what was sent."""
    from mlflow_pt_eval.syncing import sync

    sent = sync(args.run_id)
    if args.json:
        print_json([one.to_json() for one in sent])
    elif not sent:
        print("nothing is staged here")
    else:
        for one in sent:
            print(f"{one.run_id}: sent {one.metrics} metrics and {len(one.checkpoints)} checkpoints")
    return 0
