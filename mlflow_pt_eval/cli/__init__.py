"""The command line: `mlflow-pt-eval VERB …`. Building the parser and `--help` import neither torch nor mlflow."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence

from mlflow_pt_eval import __version__
from mlflow_pt_eval.cli import adopt, checkpoints, compare, evaluate, promote, sync, verify_resume, versions
from mlflow_pt_eval.cli.params import Parser
from mlflow_pt_eval.errors import Interrupted, PtEvalError
from mlflow_pt_eval.redaction import redact

_VERBS = (evaluate, compare, promote, versions, checkpoints, verify_resume, sync, adopt)
_OTHER = 3


def build_parser() -> Parser:
    """Return the parser of all verbs."""
    parser = Parser(
        prog="mlflow-pt-eval",
        description="Evaluate, compare and promote the versions that PyTorch trainings registered in MLflow.",
        epilog="Exit status: 0 yes or done, 1 no, 2 bad input, 3 anything else; 128 + n after signal n.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    common = Parser(add_help=False)
    common.add_argument("--traceback", action="store_true", help="show where an error comes from")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for module in _VERBS:
        module.add_parsers(verbs, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return its exit status."""
    args = build_parser().parse_args(argv)
    # What we have to say goes to stderr without a logger's ornaments; stdout is for results.
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells of each retry
    warnings.filterwarnings("ignore", module="mlflow")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # it would stand in the middle of JSON
    try:
        return int(args.run(args) or 0)
    except PtEvalError as error:
        return _tell(error, error.exit_code, args.traceback)
    except (Interrupted, KeyboardInterrupt) as error:
        return 128 + getattr(error, "signum", signal.SIGINT)
    except BrokenPipeError:  # the reader of our output has had enough
        return 128 + signal.SIGPIPE
    except Exception as error:
        return _tell(error, _OTHER, args.traceback)


def _tell(error: Exception, status: int, with_traceback: bool) -> int:
    if with_traceback:
        traceback.print_exc()
    text = redact(" ".join(str(error).split())) or "no reason given"
    kind = "" if isinstance(error, PtEvalError) else f"{type(error).__name__}: "
    hint = "" if with_traceback or isinstance(error, PtEvalError) else " (--traceback shows where)"
    print(f"mlflow-pt-eval: {kind}{text}{hint}", file=sys.stderr)
    return status
