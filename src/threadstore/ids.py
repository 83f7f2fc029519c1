"""Thread ids: UUIDs, written in lower case with hyphens; new ones are version 7 (time-ordered)."""

from __future__ import annotations

import os
import re
import threading
import time

from threadstore.errors import InvalidRequest

__all__ = ["id_range", "new_thread_id", "parse_id_prefix", "parse_thread_id", "try_thread_id"]

_is_canonical = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_is_prefix = re.compile(r"[0-9a-f]{1,32}").fullmatch
_lock = threading.Lock()
_last_ms = 0
_counter = 0


def new_thread_id() -> str:
    """A new UUIDv7, increasing within the process even when the clock steps back."""
    global _last_ms, _counter  # noqa: PLW0603 - one sequence per process is the point
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms = now_ms
            _counter = int.from_bytes(os.urandom(2), "big") & 0x7FF  # room to count upwards
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms += 1
                _counter = 0
        ms, sequence = _last_ms, _counter
    tail = int.from_bytes(os.urandom(8), "big") & ((1 << 62) - 1)
    value = (ms << 80) | (0x7 << 76) | (sequence << 64) | (0b10 << 62) | tail
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def try_thread_id(text: str) -> str | None:
    """The canonical form of *text*, or ``None`` if it is not a UUID in any of its spellings.

    Codex (all releases seen) accepts hyphenated, plain, braced and URN forms and writes the
    hyphenated lower-case one.
    """
    try:
        if _is_canonical(text):
            return text
        import uuid  # here: every start would pay for it, and for what it imports

        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        return None


def parse_thread_id(text: str) -> str:
    """The canonical form of *text*; :class:`InvalidRequest` if it is not a UUID."""
    parsed = try_thread_id(text)
    if parsed is None:
        raise InvalidRequest(
            f"invalid thread id: {text!r}",
            hint="a thread id is a UUID such as 01a201e5-a996-7a61-8db2-c256091e8939",
        )
    return parsed


def parse_id_prefix(text: str) -> str:
    """The canonical form of what an id begins with; :class:`InvalidRequest` if no id does."""
    digits = text.replace("-", "").lower()
    if not _is_prefix(digits):
        raise InvalidRequest(
            f"invalid beginning of a thread id: {text!r}",
            hint="give 1 to 32 hexadecimal digits, with or without hyphens",
        )
    return _hyphenated(digits).rstrip("-")


def id_range(prefix: str) -> tuple[str, str]:
    """The lowest and the highest id that begin with a canonical prefix."""
    digits = prefix.replace("-", "")
    return _hyphenated(digits.ljust(32, "0")), _hyphenated(digits.ljust(32, "f"))


def _hyphenated(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
