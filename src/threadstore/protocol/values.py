"""Values from disk, whatever they are, in the shape that the protocol wants."""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = [
    "as_dict",
    "as_list",
    "as_path",
    "as_text",
    "camel",
    "camel_keys",
    "count",
    "duration",
    "snake_keys",
]

_CAPITALS: Final = re.compile(r"(?<!^)([A-Z])")
_WORDS: Final = re.compile(r"_([a-z0-9])")


def as_text(value: Any) -> str:
    """The text, else an empty one."""
    return value if isinstance(value, str) else ""


def as_list(value: Any) -> list[Any]:
    """The list, else an empty one."""
    return value if isinstance(value, list) else []


def as_dict(value: Any) -> dict[str, Any]:
    """The object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_path(value: Any) -> str:
    """Codex 0.169 writes paths as ``file://`` URLs into items, and plain before."""
    text = as_text(value)
    if not text.startswith("file://"):
        return text
    from urllib.parse import unquote  # here: every start would pay for it

    return unquote(text.removeprefix("file://"))


def camel(word: str) -> str:
    """``in_progress`` → ``inProgress``."""
    if "_" not in word:
        return word
    return _WORDS.sub(lambda match: match[1].upper(), word)


def camel_keys(value: Any) -> Any:
    """The same JSON with keys such as ``byteRange`` for ``byte_range``."""
    if isinstance(value, dict):
        return {camel(key): camel_keys(inner) for key, inner in value.items()}
    return [camel_keys(inner) for inner in value] if isinstance(value, list) else value


def snake_keys(value: Any) -> Any:
    """The same JSON with keys such as ``byte_range`` for ``byteRange``."""
    if isinstance(value, dict):
        return {
            _CAPITALS.sub(r"_\1", key).lower(): snake_keys(inner) for key, inner in value.items()
        }
    return [snake_keys(inner) for inner in value] if isinstance(value, list) else value


def count(value: Any) -> int | None:
    """Milliseconds; Codex writes 0 for "not known"."""
    return value if isinstance(value, int) and value > 0 else None


def duration(value: Any) -> int | None:
    """Milliseconds from seconds and nanoseconds."""
    fields = as_dict(value)
    seconds, nanos = fields.get("secs"), fields.get("nanos")
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        return None
    return seconds * 1000 + nanos // 1_000_000
