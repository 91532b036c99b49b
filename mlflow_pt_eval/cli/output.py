"""What a verb prints: a table for people, or JSON for scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from mlflow_pt_eval.wording import score


def print_json(data: Any) -> None:
    """Print *data* as strict JSON: NaN and infinities become null."""
    print(json.dumps(_finite(data), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows in aligned columns: numbers to the right, None as '-'."""
    cells = [[shown(value) for value in row] for row in rows]
    widths = [max([len(h), *(len(row[i]) for row in cells)]) for i, h in enumerate(headers)]
    numeric = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(headers))]
    for line in [list(headers), *cells]:
        aligned = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric, strict=True)]
        print("  ".join(aligned).rstrip())


def shown(value: Any) -> str:
    """Return a value as a table shows it.

    >>> shown(0.98765), shown(None), shown(["a", "b"])
    ('0.9877', '-', 'a, b')
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return score(value) if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value)) or "-"
    return str(value)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data
