"""Git remote URLs without secrets."""

from __future__ import annotations

__all__ = ["strip_credentials"]


def strip_credentials(url: str) -> str:
    """*url* without user name and password, as Codex 0.169 stores it."""
    raise NotImplementedError
