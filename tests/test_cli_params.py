"""Parameters: every bad one is one clear line and exit status 2."""

from __future__ import annotations

import argparse
import math
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlflow_pt_eval.cli import build_parser
from mlflow_pt_eval.cli.params import (
    Parser,
    alias,
    folder,
    fraction,
    model_name,
    non_negative_float,
    number,
    one_line_errors,
    optional,
    positive_float,
    positive_int,
    seed,
    training_parser,
)
from mlflow_pt_eval.errors import BadInput, CheckpointDamaged, Interrupted


def complaint(convert: Callable[[str], Any], text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line that a bad value costs."""
    parser = Parser(prog="train.py")
    parser.add_argument("--value", type=convert)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args([f"--value={text}"])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.rstrip("\n")


GOOD = [
    (positive_int, "1", 1),
    (positive_int, "1000", 1000),
    (seed, "4294967295", 2**32 - 1),
    (number, "-2.5", -2.5),
    (positive_float, "1e-3", 1e-3),
    (non_negative_float, "0", 0.0),
    (fraction, "0", 0.0),
    (fraction, "1", 1.0),
    (model_name, "digits", "digits"),
    (alias, "champion", "champion"),
    (optional(positive_int), "", None),
    (optional(positive_int), "3", 3),
]


@pytest.mark.parametrize(("convert", "text", "value"), GOOD)
def test_a_good_value_is_converted(convert: Callable[[str], Any], text: str, value: object) -> None:
    """The converters return plain numbers and texts."""
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text", "line"),
    [
        (positive_float, "abc", "train.py: --value: 'abc' is not a number; give a number greater than 0."),
        (positive_float, "0", "train.py: --value: 0 is out of range; give a number greater than 0."),
        (positive_float, "nan", "train.py: --value: nan is out of range; give a number greater than 0."),
        (positive_float, "inf", "train.py: --value: inf is out of range; give a number greater than 0."),
        (non_negative_float, "-1e-9", "train.py: --value: -1e-9 is out of range; give a number of at least 0."),
        (fraction, "1.01", "train.py: --value: 1.01 is out of range; give a number from 0 to 1."),
        (number, "-inf", "train.py: --value: -inf is out of range; give a finite number."),
        (positive_int, "0", "train.py: --value: 0 is too small; give a whole number of at least 1."),
        (positive_int, "2.5", "train.py: --value: '2.5' is not a whole number; give a whole number of at least 1."),
        (positive_int, "", "train.py: --value: '' is not a whole number; give a whole number of at least 1."),
        (seed, "-1", "train.py: --value: -1 is too small; give a whole number from 0 to 4294967295."),
        (seed, "4294967296", "train.py: --value: 4294967296 is too large; give a whole number from 0 to 4294967295."),
        (
            optional(positive_int),
            "x",
            "train.py: --value: 'x' is not a whole number; give a whole number of at least 1.",
        ),
    ],
)
def test_a_bad_number_is_one_line(
    convert: Callable[[str], Any], text: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the option, what was there and what to give."""
    assert complaint(convert, text, capsys) == line


@pytest.mark.parametrize(
    ("convert", "text", "rule"),
    [
        (model_name, "a/b", "neither '/' nor ':'"),
        (model_name, "", "1 to 250 characters"),
        (model_name, "..", "not '.' or '..' alone"),
        (model_name, "a ", "no blank at an end"),
        (model_name, 'it\'s "q"', "not both kinds of quotes"),
        (alias, "latest", "reserved by MLflow"),
        (alias, "v2", "reserved by MLflow"),
    ],
)
def test_a_bad_name_is_refused_with_the_registry_s_rule(
    convert: Callable[[str], Any], text: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rules are those of `names.py`, and the message too."""
    line = complaint(convert, text, capsys)
    assert repr(text) in line
    assert rule in line


def test_a_folder_has_to_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says from where a relative path was looked for."""
    assert folder(str(tmp_path)) == tmp_path
    line = complaint(folder, "nothing", capsys)
    assert line == f"train.py: --value: there is no folder 'nothing' (seen from '{tmp_path}')."


def parse(*arguments: str) -> Any:
    """Parse the arguments of a training with its defaults."""
    parser = training_parser("Train.", epochs=20, lr=1e-3, batch_size=64, patience=5, register_as="digits")
    parser.prog = "train.py"
    return parser.parse_args(arguments)


def test_a_training_has_its_defaults() -> None:
    """What is not given is what the project chose; an empty resume is none."""
    args = vars(parse("--resume", ""))
    assert args == {
        "epochs": 20,
        "lr": 1e-3,
        "batch_size": 64,
        "seed": 0,
        "patience": 5,
        "resume": "",
        "register_as": "digits",
        "evaluate": False,
    }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--ecpohs", "3"], "train.py: unknown parameter '--ecpohs'; did you mean --epochs? --help lists all."),
        (["--zzz=3"], "train.py: unknown parameter '--zzz'; --help lists all."),
        (["--epoch", "3"], "train.py: unknown parameter '--epoch'; did you mean --epochs? --help lists all."),
        (["3"], "train.py: unknown parameter '3'; --help lists all."),
        (["--epochs"], "train.py: --epochs: expected one argument."),
    ],
)
def test_an_unknown_option_is_one_line_with_the_nearest(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is abbreviated, so a typo is never taken for another option."""
    with pytest.raises(SystemExit) as caught:
        parse(*arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"{line}\n"


def test_a_verb_s_own_options_are_known_to_the_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest option is looked for among the chosen verb's, and is never the one that was refused."""
    parser = Parser(prog="mlflow-pt-eval")
    verbs = parser.add_subparsers(dest="verb")
    verbs.add_parser("evaluate").add_argument("--batch-size", type=positive_int)
    verbs.add_parser("compare")
    for words, hint in [
        (["evaluate", "--batch-sise", "3"], "did you mean --batch-size? --help"),
        (["compare", "--batch-size", "3"], "unknown parameter '--batch-size'; --help"),
        (["--batch-size", "evaluate"], "unknown parameter '--batch-size'; --help"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(words)
        assert hint in capsys.readouterr().err


def verbs_of(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Return the help of each verb, and of each action of a verb, in a narrow terminal."""
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                found |= {(*words, name): verb.format_help(), **verbs_of(verb, (*words, name))}
    return found


def test_every_verb_s_help_ends_with_an_example_that_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on one line, however narrow the terminal, and the parser takes it."""
    monkeypatch.setenv("COLUMNS", "40")
    helps = verbs_of(build_parser())
    assert {("evaluate",), ("checkpoints",), ("checkpoints", "prune")} < set(helps)
    for words, text in helps.items():
        example = text.strip().splitlines()[-1]
        assert example.startswith(f"example: mlflow-pt-eval {' '.join(words)}"), text
        assert build_parser().parse_args(shlex.split(example)[2:]).verb == words[0]


def test_a_missing_verb_is_one_line_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody who types the bare command learns how to go on."""
    with pytest.raises(SystemExit, match="2"):
        build_parser().parse_args([])
    line = "mlflow-pt-eval: the following arguments are required: VERB; --help says what they are.\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (BadInput("the file is empty."), 2, "train.py: the file is empty.\n"),
        (CheckpointDamaged("none is whole."), 1, "train.py: none is whole.\n"),
        (Interrupted(15), 143, ""),
    ],
)
def test_an_error_of_ours_is_one_line_and_its_status(
    error: BaseException, code: int, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A signal ends with 128 + its number."""
    with pytest.raises(SystemExit) as caught, one_line_errors("train.py"):
        raise error
    assert caught.value.code == code
    assert capsys.readouterr().err == err


def test_a_server_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is told by nobody."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    command = [sys.executable, "-m", "mlflow_pt_eval", "versions", "digits"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("mlflow-pt-eval: the tracking server http://127.0.0.1:9 does not answer: ")


def test_any_other_exception_keeps_its_traceback() -> None:
    """A bug in the user's loop is not ours to shorten."""
    with pytest.raises(ZeroDivisionError), one_line_errors("train.py"):
        math.fmod(1, 1 // 0)
