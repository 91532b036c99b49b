"""Which versions are compared, on which data, against which baseline."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlflow_pt_eval import names
from mlflow_pt_eval.errors import BadInput, NotFound
from mlflow_pt_eval.tracking import registry
from mlflow_pt_eval.tracking.evaluations import EvaluationRun, find, on_digest, shared_digest
from mlflow_pt_eval.tracking.missing_evaluations import different_data, evaluate_command, require_evaluations
from mlflow_pt_eval.tracking.store import Store
from mlflow_pt_eval.tracking.version_info import VersionInfo

_log = logging.getLogger("mlflow_pt_eval")

Evaluated = tuple[VersionInfo, EvaluationRun | None]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The versions, each with its evaluation on the data with *digest*, or None where one has to be made."""

    evaluated: tuple[Evaluated, ...]
    baseline: VersionInfo
    digest: str

    @property
    def infos(self) -> list[VersionInfo]:
        """The versions, in the order in which they were named."""
        return [info for info, _ in self.evaluated]


def choose(
    store: Store,
    name_or_uris: str | Sequence[str],
    baseline: str | int | None,
    split: str,
    wanted: Callable[[VersionInfo], str] | None,
) -> Choice:
    """Choose as `compare` says; *wanted* gives the digest of the data that the caller gave, as the first version's
    evaluation has it, None if none was given.
    """
    if not isinstance(name_or_uris, str) and not _are_texts(name_or_uris):
        raise BadInput(
            f"{name_or_uris!r} cannot be compared: give a registered model's name, or a list of URIs such as "
            "['models:/digits/1', 'models:/digits@champion']."
        )
    whole = isinstance(name_or_uris, str) and not name_or_uris.startswith("models:")
    infos = _versions(store, [name_or_uris] if isinstance(name_or_uris, str) else name_or_uris, whole)
    base = None if baseline is None else registry.resolve_beside(store, infos[0].name, baseline)
    if base is not None and base not in infos:
        infos.insert(0, base)
    found = [find(store, info, split) for info in infos]
    if wanted is not None:
        digest = wanted(infos[0])
        evaluated = _on(digest, infos, found)
    elif whole:
        digest = _most_shared(infos, found, base, split)
        evaluated = _without_missing(_on(digest, infos, found), split)
    else:
        digest = _shared(infos, found, split)
        evaluated = _on(digest, infos, found)
    return Choice(evaluated=tuple(evaluated), baseline=base or _default([info for info, _ in evaluated]), digest=digest)


def _versions(store: Store, given: Sequence[str], whole: bool) -> list[VersionInfo]:
    """Return the versions, each once, in the order in which they were named."""
    infos = registry.versions(store, given[0]) if whole else [registry.resolve_uri(store, uri) for uri in given]
    if not infos:
        raise NotFound(f"{given[0]!r} has no versions to compare." if whole else "no version was named to compare.")
    return list({info.uri: info for info in infos}.values())


def _are_texts(given: object) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(one, str) for one in given)


def _on(digest: str, infos: Sequence[VersionInfo], found: Sequence[Sequence[EvaluationRun]]) -> list[Evaluated]:
    return [(info, on_digest(runs, digest)) for info, runs in zip(infos, found, strict=True)]


def _shared(infos: Sequence[VersionInfo], found: Sequence[Sequence[EvaluationRun]], split: str) -> str:
    """Return the digest of data that every version was evaluated on; BadInput with the command where there is none."""
    require_evaluations(infos, found, split)
    digest = shared_digest(found)
    if digest is None:
        raise different_data(infos, found, split)
    return digest


def _most_shared(
    infos: Sequence[VersionInfo],
    found: Sequence[Sequence[EvaluationRun]],
    base: VersionInfo | None,
    split: str,
) -> str:
    """Return the digest that most versions, and the baseline that was asked for, were evaluated on; else the newest."""
    needed = [(i, runs) for i, runs in zip(infos, found, strict=True) if base in (None, i)]
    if not any(runs for _, runs in needed):
        require_evaluations([i for i, _ in needed], [runs for _, runs in needed], split)
    newest = {run.dataset_digest: run.evaluated for _, runs in needed for run in reversed(runs)}
    shares = {digest: sum(on_digest(runs, digest) is not None for runs in found) for digest in newest}
    return max(newest, key=lambda digest: (shares[digest], newest[digest]))


def _without_missing(evaluated: Sequence[Evaluated], split: str) -> list[Evaluated]:
    """Leave the versions without an evaluation out, and say how they would get one."""
    like = next(run for _, run in evaluated if run is not None)
    for info, run in evaluated:
        if run is None:
            _log.warning(
                "%s is left out: it has no evaluation on the same data. To have it in, run `%s`.",
                info.uri,
                evaluate_command(info.uri, split, like),
            )
    return [(info, run) for info, run in evaluated if run is not None]


def _default(infos: Sequence[VersionInfo]) -> VersionInfo:
    return next((info for info in infos if names.CHAMPION in info.aliases), infos[0])
