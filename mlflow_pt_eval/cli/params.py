"""Parameters of a command or a training script: each is checked, and a bad one costs one clear line and status 2.

MLflow hands an entry point's parameters on as text and checks neither numbers nor strings, so the script has to.
Standard library only: `--help` and a typo answer at once.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from mlflow_pt_eval import names
from mlflow_pt_eval.errors import BadInput, Interrupted, PtEvalError

T = TypeVar("T")

BAD_INPUT = BadInput.exit_code


def _whole(text: str, smallest: int, wanted: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; give {wanted}") from None
    if value < smallest:
        raise argparse.ArgumentTypeError(f"{text} is too small; give {wanted}")
    return value


def _real(text: str, fits: Callable[[float], bool], wanted: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number; give {wanted}") from None
    if not (math.isfinite(value) and fits(value)):
        raise argparse.ArgumentTypeError(f"{text} is out of range; give {wanted}")
    return value


def positive_int(text: str) -> int:
    """Read a whole number of at least 1.

    >>> positive_int("3")
    3
    """
    return _whole(text, 1, "a whole number of at least 1")


def seed(text: str) -> int:
    """Read a seed that torch and NumPy both take: a whole number from 0 to 2**32 - 1."""
    wanted = "a whole number from 0 to 4294967295"
    value = _whole(text, 0, wanted)
    if value >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is too large; give {wanted}")
    return value


def number(text: str) -> float:
    """Read any finite number."""
    return _real(text, lambda value: True, "a finite number")


def positive_float(text: str) -> float:
    """Read a finite number greater than 0, a learning rate for instance.

    >>> positive_float("1e-3")
    0.001
    """
    return _real(text, lambda value: value > 0, "a number greater than 0")


def non_negative_float(text: str) -> float:
    """Read a finite number of at least 0."""
    return _real(text, lambda value: value >= 0, "a number of at least 0")


def fraction(text: str) -> float:
    """Read a number from 0 to 1, both included."""
    return _real(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def _checked(text: str, check: Callable[[str], str]) -> str:
    try:
        return check(text)
    except BadInput as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


def model_name(text: str) -> str:
    """Read the name of a registered model."""
    return _checked(text, names.check_model_name)


def alias(text: str) -> str:
    """Read an alias of a model version."""
    return _checked(text, names.check_alias)


def folder(text: str) -> Path:
    """Read the path of a folder that exists."""
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path)!r} (seen from {str(Path.cwd())!r})")
    return path


def optional(convert: Callable[[str], T]) -> Callable[[str], T | None]:
    """Let an empty text mean "not given", as an `MLproject` parameter with an empty default arrives.

    >>> optional(positive_int)("") is None
    True
    """

    def read(text: str) -> T | None:
        return None if text == "" else convert(text)

    return read


def name_list(text: str) -> list[str]:
    """Read names with commas between them.

    >>> name_list("cat, dog")
    ['cat', 'dog']
    """
    return [name.strip() for name in text.split(",")]


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how the labels of `--data SPEC` are read."""
    add = parser.add_argument
    add("--target", metavar="COLUMN", type=optional(str), help="the label's column in a .csv or .parquet file")
    add(
        "--class-names",
        type=optional(name_list),
        metavar="A,B,…",
        help="names of the classes, in the order of their numbers",
    )
    add(
        "--classes",
        type=optional(name_list),
        metavar="A,B,…",
        help="the labels that the data has for them, if those are neither 0, 1, … nor the names",
    )


class _Formatter(argparse.HelpFormatter):
    """Leave an example on one line: what is wrapped inside a word cannot be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return indent + text if text.startswith("example: ") else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose every complaint is one line on stderr and exit status 2.

    Options cannot be abbreviated: a typo that happens to be the beginning of another option is still a typo.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, "formatter_class": _Formatter, **kwargs})

    def error(self, message: str) -> NoReturn:
        """Say *message* in one line and exit with status 2."""
        line = " ".join(message.removeprefix("argument ").split()).rstrip(".")
        hint = "; --help says what they are" if line.startswith("the following arguments are required") else ""
        self.exit(BAD_INPUT, f"{self.prog}: {line}{hint}.\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read *args* (by default the command line's); an option that does not exist is named, with the nearest."""
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            word = rest[0].partition("=")[0]
            others = self._options(known) - {word}  # the verb's own word before the verb is not mended by itself
            near = "".join(f"did you mean {option}? " for option in get_close_matches(word, others, n=1))
            self.error(f"unknown parameter {word!r}; {near}--help lists all")
        return known

    def _options(self, known: argparse.Namespace) -> set[str]:
        """Return the options that could have been meant: this parser's, and those of the verb that was chosen."""
        own = {option for option in self._option_string_actions if option.startswith("--")}
        nested = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        chosen = [action.choices.get(getattr(known, action.dest, "")) for action in nested]
        return own.union(*(verb._options(known) for verb in chosen if verb is not None))


def training_parser(
    description: str | None,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    patience: int,
    register_as: str,
) -> Parser:
    """Return a parser with the options that every training of `projects/` has, and these defaults."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, read, default, text in (
        ("--epochs", positive_int, epochs, "epochs in total, those before a resume included"),
        ("--lr", positive_float, lr, "learning rate"),
        ("--batch-size", positive_int, batch_size, "examples in a batch"),
        ("--seed", seed, 0, "the same seed gives the same weights, bit for bit"),
        ("--patience", positive_int, patience, "epochs without a better val_loss before it stops"),
        ("--register-as", model_name, register_as, "name of the registered model"),
    ):
        parser.add_argument(option, type=read, default=default, help=f"{text} (%(default)s)")
    parser.add_argument("--resume", default="", help="a run id, or auto for the newest unfinished run (a new run)")
    parser.add_argument("--evaluate", action="store_true", help="evaluate the registered version on the test split")
    return parser


@contextmanager
def one_line_errors(prog: str | None = None) -> Iterator[None]:
    """Turn an error of ours into one line on stderr and its exit status, a signal into 128 + its number.

    Every other exception is a bug in the script and keeps its traceback.
    """
    try:
        yield
    except PtEvalError as error:
        print(f"{prog or Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted as interruption:
        sys.exit(128 + interruption.signum)
