"""Private random number generators that a loader holds: where they are, and their state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from mlflow_pt_eval.errors import StateMismatch
from mlflow_pt_eval.state.rng import decode_numpy, decode_python, encode_numpy, encode_python

Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random

_KINDS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
# Where loaders, what is wrapped around them, samplers, and the datasets of torch and torchvision keep their parts.
_PARTS = frozenset(
    {"sampler", "batch_sampler", "dataset", "datasets", "data_source", "collate_fn"}
    | {"transform", "target_transform", "transforms"}
    | {"loader", "dataloader", "data_loader", "iterable", "loaders", "dataloaders", "data_loaders", "iterables"}
)


def find_generators(loader: object) -> dict[str, Generator]:
    """Return every private generator that *loader* holds, each once, by where it stands ('sampler.generator').

    Looked at are the attributes of the loader, of its samplers, of its dataset and of its transforms. What is
    hidden deeper is not seen; put the sampler or the dataset that hides it into the run's `state` (see `find_held`).
    """
    found: dict[str, Generator] = {}
    seen: set[int] = set()
    for place, members in _holders(loader, "", set()):
        for name, value in members:
            # (a SystemRandom has no state)
            if isinstance(value, _KINDS) and not isinstance(value, random.SystemRandom) and id(value) not in seen:
                seen.add(id(value))
                found[f"{place}{name}"] = value
    return found


def find_held(loader: object, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a run's *state*, by its names, stands where generators are looked for: samplers, data sets, …

    Not modules: weights are no place in an epoch, and would be copied in each.
    """
    names = {id(part): name for name, part in state.items() if not isinstance(part, torch.nn.Module)}
    held = (value for _, members in _holders(loader, "", set()) for _, value in members if id(value) in names)
    return {names[id(part)]: part for part in held}


def capture_generators(loader: object) -> dict[str, dict[str, Any]]:
    """Return the state of every private generator that *loader* holds, as tensors and ints; nothing is drawn."""
    return {name: _capture(generator) for name, generator in find_generators(loader).items()}


def restore_generators(loader: object, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Put back what `capture_generators` returned.

    StateMismatch, before anything is changed, if *loader* no longer holds one of them.
    """
    present = find_generators(loader)
    gone = [name for name, state in states.items() if name not in present or _kind(present[name]) not in state]
    if gone:
        raise StateMismatch(
            f"the loader held private generators at {', '.join(gone)} when the checkpoint was made, and holds "
            f"{', '.join(present) or 'none'} now. Build the loader as it was built then."
        )
    for name, state in states.items():
        _restore(present[name], state)


def _holders(holder: object, place: str, seen: set[int]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Yield the members of *holder*, with its place, then those of its parts, each object once."""
    if id(holder) in seen:
        return
    seen.add(id(holder))
    members = _members(holder)
    yield place, members
    for name, value in members:
        if name in _PARTS or name.isdigit():
            yield from _holders(value, f"{place}{name}.", seen)


def _members(holder: object) -> list[tuple[str, Any]]:
    """Return the attributes of an object, or the items of a list or tuple by their number."""
    if isinstance(holder, list | tuple):
        return [(str(index), item) for index, item in enumerate(holder) if hasattr(item, "__dict__")]
    return list(getattr(holder, "__dict__", {}).items())


def _kind(generator: Generator) -> str:
    """Name the library that a generator belongs to."""
    if isinstance(generator, torch.Generator):
        return "torch"
    return "python" if isinstance(generator, random.Random) else "numpy"


def _capture(generator: Generator) -> dict[str, Any]:
    if isinstance(generator, torch.Generator):
        return {"torch": generator.get_state()}
    if isinstance(generator, random.Random):
        return {"python": encode_python(generator.getstate())}
    if isinstance(generator, np.random.RandomState):
        return {"numpy": encode_numpy(generator.get_state(legacy=False))}
    return {"numpy": encode_numpy(generator.bit_generator.state)}


def _restore(generator: Generator, state: Mapping[str, Any]) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state["torch"])
    elif isinstance(generator, random.Random):
        generator.setstate(decode_python(state["python"]))
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(decode_numpy(state["numpy"]))
    else:
        generator.bit_generator.state = decode_numpy(state["numpy"])
