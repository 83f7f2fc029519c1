"""What is no argument of the contract's verbs: refused before anything is done."""

from __future__ import annotations

from collections.abc import Sequence

from threadstore.errors import InvalidRequest

__all__ = ["check_append", "check_class", "check_lines", "check_position"]


def check_class(value: object, wanted: type) -> None:
    """Refuse an argument that is no *wanted* (:class:`InvalidRequest`). What the contract's own
    classes hold was checked when they were made."""
    if not isinstance(value, wanted):
        raise InvalidRequest(
            f"expected {wanted.__name__}, not {type(value).__name__}",
            hint=f"pass a {wanted.__name__}",
        )


def check_append(idempotency_key: object, expected_position: object) -> None:
    """Refuse options of ``append_items`` of a wrong type (:class:`InvalidRequest`)."""
    if idempotency_key is not None:
        check_class(idempotency_key, str)
    if expected_position is not None:
        check_position(expected_position, "expected_position")


def check_position(value: object, name: str) -> None:
    """Refuse a position that is no whole number from 0 (:class:`InvalidRequest`)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(
            f"{name} must be a whole number from 0, not {value!r}",
            hint="a position is a number of lines",
        )


def check_lines(lines: object, expected_position: object) -> None:
    """Refuse arguments of ``append_lines`` that are none (:class:`InvalidRequest`)."""
    check_append(None, expected_position)
    if not isinstance(lines, Sequence) or isinstance(lines, (str, bytes, bytearray)):
        raise InvalidRequest(
            f"lines must be a sequence of bytes, not {type(lines).__name__}", hint="pass a list"
        )
    for number, line in enumerate(lines):
        if not isinstance(line, bytes):
            raise InvalidRequest(f"lines[{number}] must be bytes, not {type(line).__name__}")
        if b"\n" in line:
            raise InvalidRequest(f"lines[{number}] has a newline in it", hint="split it there")
