"""Hiding passwords in texts that are logged, stored or shown."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(\w://[^\s/:@]*):[^\s/]+@")


def redact(text: str) -> str:
    """Return a text with every password in a URI hidden.

    >>> redact("no answer from postgresql://me:secret@host/db")
    'no answer from postgresql://me:***@host/db'
    """
    return _PASSWORD.sub(r"\1:***@", text)
