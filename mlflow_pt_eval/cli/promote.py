"""`mlflow-pt-eval promote NAME VERSION_OR_ALIAS` and `mlflow-pt-eval rollback NAME`."""

from __future__ import annotations

import argparse
from typing import Any

from mlflow_pt_eval.cli.output import print_json
from mlflow_pt_eval.cli.params import (
    Parser,
    alias,
    fraction,
    model_name,
    non_negative_float,
    number,
    optional,
    positive_float,
)


def add_parsers(verbs: Any, common: Parser) -> None:
    """Add both verbs to the command line."""
    _add_promote(verbs, common)
    _add_rollback(verbs, common)


def _add_promote(verbs: Any, common: Parser) -> None:
    text = "move an alias to a version if it is better than the one that has it, on the same data"
    example = "example: mlflow-pt-eval promote digits challenger --metric accuracy --min-delta 0.002"
    parser = verbs.add_parser(
        "promote", help=text, description=text.capitalize() + ".", epilog=example, parents=[common]
    )
    add = parser.add_argument
    add("name", metavar="NAME", type=model_name, help="the registered model")
    add("version", metavar="VERSION_OR_ALIAS", help="the version that wants the alias")
    add("--alias", type=alias, default="champion", help="the alias to move (champion)")
    add("--metric", default="accuracy", help="the metric that decides, without the split (accuracy)")
    add("--split", default="test", help="which evaluations decide (test)")
    add("--min-delta", type=non_negative_float, default=0.0, help="better by more than this (0)")
    add("--threshold", type=optional(number), help="and at least this good")
    add("--max-class-drop", type=optional(fraction), help="and no class's recall down by more than this")
    add("--confidence", type=optional(_confidence), help="and the paired interval at this confidence above -tolerance")
    add("--tolerance", type=non_negative_float, default=0.0, help="what the interval may reach below 0 (0)")
    add("--max-size-mb", type=optional(positive_float), help="and no larger than this, in megabytes")
    add(
        "--max-latency-ms",
        type=optional(positive_float),
        help="and no slower than this on its input example, in milliseconds",
    )
    add("--dry-run", action="store_true", help="decide and say so, move nothing")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_promote)


def _confidence(text: str) -> float:
    value = fraction(text)
    if value in (0.0, 1.0):
        raise argparse.ArgumentTypeError(f"{text} is out of range; give a number between 0 and 1, such as 0.95")
    return value


def _add_rollback(verbs: Any, common: Parser) -> None:
    text = "move an alias back to where it was before the last promotion"
    example = "example: mlflow-pt-eval rollback digits"
    parser = verbs.add_parser(
        "rollback", help=text, description=text.capitalize() + ".", epilog=example, parents=[common]
    )
    parser.add_argument("name", metavar="NAME", type=model_name, help="the registered model")
    parser.add_argument("--alias", type=alias, default="champion", help="the alias to move (champion)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_rollback)


def _promote(args: argparse.Namespace) -> int:
    from mlflow_pt_eval.promotion import gates_for, promote

    gates = gates_for(
        metric=args.metric,
        split=args.split,
        min_delta=args.min_delta,
        threshold=args.threshold,
        max_class_drop=args.max_class_drop,
        confidence=args.confidence,
        tolerance=args.tolerance,
        max_size_mb=args.max_size_mb,
        max_latency_ms=args.max_latency_ms,
    )
    decision = promote(args.name, args.version, alias=args.alias, gates=gates, split=args.split, dry_run=args.dry_run)
    if args.json:
        print_json(decision.to_json())
    else:
        print(decision)
    return 0 if decision.passed else 1


def _rollback(args: argparse.Namespace) -> int:
    from mlflow_pt_eval.promotion import rollback

    move = rollback(args.name, alias=args.alias)
    if args.json:
        print_json(move.to_json())
    else:
        print(move)
    return 0
