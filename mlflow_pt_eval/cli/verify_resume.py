"""`mlflow-pt-eval verify-resume SCRIPT [ARGS …]`."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from mlflow_pt_eval.cli.output import print_json
from mlflow_pt_eval.cli.params import Parser, positive_int, seed


def add_parsers(verbs: Any, common: Parser) -> None:
    """Add the verb to the command line."""
    text = "run a training script whole, then killed and resumed at several points, and compare everything exactly"
    example = "example: mlflow-pt-eval verify-resume --kills 5 train.py --epochs 3"
    parser = verbs.add_parser(
        "verify-resume", help=text, description=text.capitalize() + ".", epilog=example, parents=[common]
    )
    add = parser.add_argument
    add("--kills", type=positive_int, default=3, help="at how many points it is killed (3)")
    add("--seed", type=seed, default=0, help="chooses the points (0)")
    add("--json", action="store_true", help="print JSON")
    add("script", metavar="SCRIPT", type=Path, help="the user's own script, unchanged")
    add("args", metavar="ARGS", nargs=argparse.REMAINDER, help="its arguments")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify; status 1 if a resumed training differs from the whole one."""
    from mlflow_pt_eval.verification import verify_resume

    say = None if args.json else partial(print, flush=True)  # it takes a while: each line is wanted when it is there
    verdict = verify_resume(args.script, args.args, kills=args.kills, seed=args.seed, say=say)
    if args.json:
        print_json(verdict.to_json())
    return 0 if verdict.exact else 1
