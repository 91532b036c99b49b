"""`mlflow-pt-eval compare NAME [VERSION …]`."""

from __future__ import annotations

import argparse
from typing import Any

from mlflow_pt_eval.cli.output import print_json
from mlflow_pt_eval.cli.params import Parser, add_reading_options, optional


def add_parsers(verbs: Any, common: Parser) -> None:
    """Add the verb to the command line."""
    text = "compare versions of a model on one data set: paired differences, tests, what flipped"
    example = "example: mlflow-pt-eval compare digits 1 2 --data projects.digits.data:test"
    parser = verbs.add_parser(
        "compare", help=text, description=text.capitalize() + ".", epilog=example, parents=[common]
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="the registered model, or the first of several model URIs")
    add("versions", metavar="VERSION", nargs="*", help="versions or aliases (all versions)")
    add("--data", metavar="SPEC", type=optional(str), help="evaluate what has no evaluation yet on this data")
    add_reading_options(parser)
    add(
        "--baseline",
        type=optional(str),
        help="the version or alias that differences are taken to (the champion, else the first)",
    )
    add("--split", default="test", help="which evaluations to compare (test)")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Compare, print the table and where its page is."""
    if args.data is None and (args.target, args.class_names, args.classes) != (None, None, None):
        args.parser.error("--target, --class-names and --classes say how --data SPEC is read: give that, too")
    from mlflow_pt_eval.comparison import compare
    from mlflow_pt_eval.comparison.words import summary

    named = [version for version in args.versions if version]
    uris = [args.name, *named] if ":" in args.name else [_uri(args.name, version) for version in named]
    baseline = None if args.baseline is None else _uri(args.name, args.baseline)
    if ":" in args.name and (other := [each for each in (*uris, args.baseline) if each and ":" not in each]):
        args.parser.error(f"{other[0]!r} names no model beside the URI {args.name}: give URIs, or a model's NAME first")
    result = compare(
        uris or args.name, args.data, baseline=baseline, split=args.split,
        target=args.target, class_names=args.class_names, classes=args.classes,
    )  # fmt: skip
    if args.json:
        print_json(result.to_json())
        return 0
    print(summary(result))
    return 0


def _uri(name: str, version: str) -> str:
    if ":" in version:
        return version
    return f"models:/{name}/{version}" if version.isdecimal() else f"models:/{name}@{version.removeprefix('@')}"
