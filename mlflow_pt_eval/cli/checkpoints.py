"""`mlflow-pt-eval checkpoints list | verify | prune RUN_ID`."""

from __future__ import annotations

import argparse
from typing import Any

from mlflow_pt_eval.cli.output import print_json, print_table
from mlflow_pt_eval.cli.params import Parser, positive_int


def add_parsers(verbs: Any, common: Parser) -> None:
    """Add the verb to the command line."""
    text = "list, verify or prune a run's checkpoints"
    example = "example: mlflow-pt-eval checkpoints list 0a1b2c3d4e5f"
    parser: Parser = verbs.add_parser("checkpoints", help=text, description=text.capitalize() + ".", epilog=example)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    for name, run, text in (
        ("list", _list, "list a run's checkpoints"),
        ("verify", _verify, "read each checkpoint whole; status 1 if one is bad"),
        ("prune", _prune, "delete all but the newest, the best, and those that versions came from"),
    ):
        example = f"example: mlflow-pt-eval checkpoints {name} 0a1b2c3d4e5f"
        action = actions.add_parser(
            name, help=text, description=text.capitalize() + ".", epilog=example, parents=[common]
        )
        action.add_argument("run_id", metavar="RUN_ID", help="the training run")
        action.add_argument("--json", action="store_true", help="print JSON")
        action.set_defaults(run=run)
        if name == "prune":
            action.add_argument("--keep-last", type=positive_int, default=2, help="how many of the newest stay (2)")
            action.add_argument("--dry-run", action="store_true", help="say what would be deleted, delete nothing")


def _list(args: argparse.Namespace) -> int:
    from mlflow_pt_eval.checkpoints import overview

    rows = overview(args.run_id)
    if args.json:
        print_json([row.to_json() for row in rows])
    else:
        headers = ("checkpoint", "epoch", "step", "complete", "megabytes", "metrics")
        table = [
            (row.name, row.epoch, row.step, "yes" if row.complete else "no", row.size / 1e6, _metrics(row.metrics))
            for row in rows
        ]
        print_table(headers, table)
    return 0


def _metrics(metrics: Any) -> str:
    return ", ".join(f"{key} {value:.4g}" for key, value in sorted(metrics.items()))


def _verify(args: argparse.Namespace) -> int:
    from mlflow_pt_eval.checkpoints import verify

    problems = verify(args.run_id)
    if args.json:
        print_json(problems)
    else:
        for name, problem in problems.items():
            print(f"{name}: {'whole' if problem is None else f'BAD: {problem}'}")
    return int(any(problem is not None for problem in problems.values()))


def _prune(args: argparse.Namespace) -> int:
    from mlflow_pt_eval.checkpoints import prune

    deleted = prune(args.run_id, keep_last=args.keep_last, dry_run=args.dry_run)
    if args.json:
        print_json({"deleted": deleted, "dry_run": args.dry_run})
    else:
        for name in deleted:
            print(f"{'would delete' if args.dry_run else 'deleted'} {name}")
    return 0
