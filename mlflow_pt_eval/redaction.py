"""Hiding passwords in texts that are logged, stored or shown."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(\w://[^\s/:@]*):[^\s/]+@")
_TOKEN = re.compile(r"(https?://)[^\s/:@]+@")  # who logs in by HTTP without a password does so with a token


def redact(text: str) -> str:
    """Return a text with every password and token in a URI hidden.

    >>> redact("no answer from postgresql://me:secret@host/db")
    'no answer from postgresql://me:***@host/db'
    >>> redact("cloned from https://ghp_4d5e6f@host/repository.git")
    'cloned from https://***@host/repository.git'
    """
    return _TOKEN.sub(r"\1***@", _PASSWORD.sub(r"\1:***@", text))
