"""`mlflow-pt-eval adopt NAME FILE… --factory pkg.module:callable`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mlflow_pt_eval.cli.output import print_json, print_table
from mlflow_pt_eval.cli.params import Parser, model_name


def add_parsers(verbs: Any, common: Parser) -> None:
    """Add the verb to the command line."""
    text = "make hand-named weight files consecutive versions, in natural order (v2 before v10)"
    example = "example: mlflow-pt-eval adopt digits model_v*.pth --factory model:DigitsNet --input-example data:example"
    parser = verbs.add_parser("adopt", help=text, description=text.capitalize() + ".", epilog=example, parents=[common])
    add = parser.add_argument
    add("name", metavar="NAME", type=model_name, help="the registered model")
    add("files", metavar="FILE", nargs="+", type=Path, help="state dicts, or checkpoints that hold one")
    add("--factory", metavar="MODULE:CALLABLE", required=True, help="what builds the model that the weights fit")
    add("--input-example", metavar="SPEC", required=True, help="package.module:callable, .npz, .csv or .parquet")
    add("--outputs", choices=("logits", "probabilities"), default="logits", help="what the model returns (logits)")
    add("--dry-run", action="store_true", help="say what would become which version, register nothing")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Adopt, and say what became which version."""
    from mlflow_pt_eval.adoption import adopt

    adopted = adopt(
        args.files,
        name=args.name,
        factory=args.factory,
        input_example=args.input_example,
        outputs=args.outputs,
        dry_run=args.dry_run,
    )
    if args.json:
        print_json([one.to_json() for one in adopted])
    else:
        print_table(("file", "version", "what"), [(str(one.file), one.version, one.what) for one in adopted])
    return 0
