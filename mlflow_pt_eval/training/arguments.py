"""The arguments of a training: what may be given in several forms, and one line for what cannot be right."""

from __future__ import annotations

import argparse
import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_pt_eval.errors import BadInput
from mlflow_pt_eval.policies import is_finite


def params_of(given: Any) -> dict[str, Any]:
    """Return params as a dict: a mapping, an `argparse.Namespace` or a dataclass object, also one inside another."""
    if given is None:
        return {}
    plain = _plain(given)
    if not isinstance(plain, Mapping):
        raise BadInput(
            f"params is {_shown(given)}; it is a mapping such as {{'lr': 1e-3}}, an argparse.Namespace or a dataclass."
        )
    return dict(plain)


def _plain(value: Any) -> Any:
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        value = vars(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def metrics_of(caller: str, given: Any, named: dict[str, Any]) -> dict[str, Any]:
    """Return metrics that may be given in a mapping, by name, or both; BadInput for anything else."""
    if given is None:
        return named
    if not (isinstance(given, Mapping) and all(isinstance(key, str) for key in given)):
        raise BadInput(f"{caller} got {_shown(given)}; it takes metrics by name, {caller}(loss=0.5), or a mapping.")
    return {**given, **named}


def check_callbacks(callbacks: Any) -> None:
    """Raise BadInput unless *callbacks* can be gone through, as a list."""
    if not isinstance(callbacks, Iterable) or isinstance(callbacks, str | Mapping):
        raise BadInput(f"callbacks is {_shown(callbacks)}; it is a list: callbacks=[...].")


def check_texts(**given: Any) -> None:
    """Raise BadInput unless each argument is a text or None."""
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            hint = " (a run id, or 'auto')" if name == "resume" else ""
            raise BadInput(f"TrainingRun got {name}={_shown(value)}; it is a text{hint} or None.")


def check_tags(tags: Any) -> None:
    """Raise BadInput unless *tags* is a mapping with names as keys, or None."""
    if tags is not None and not (isinstance(tags, Mapping) and all(isinstance(key, str) for key in tags)):
        raise BadInput(f"TrainingRun got tags={_shown(tags)}; it is a mapping of texts such as {{'team': 'vision'}}.")


def check_choices(*, strict: Any, progress: Any) -> None:
    """Raise BadInput unless both are what they can be."""
    if not isinstance(strict, bool):
        raise BadInput(f"TrainingRun got strict={_shown(strict)}; it is True or False.")
    if not (isinstance(progress, bool) or progress == "auto"):
        raise BadInput(f"TrainingRun got progress={_shown(progress)}; it is True, False or 'auto'.")


def grace_of(seconds: Any) -> float:
    """Return the grace in seconds; BadInput unless it is a finite time of at least 0."""
    if is_finite(seconds) and seconds >= 0:
        return float(seconds)
    raise BadInput(f"TrainingRun got grace_seconds={_shown(seconds)}; it is a time of at least 0 in seconds.")


def _shown(value: Any) -> str:
    """Return a value as a message shows it: by its repr if that is short, else by its type."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"
