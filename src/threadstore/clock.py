"""Time: an injectable clock and the two textual forms that rollouts use.

Python values are aware UTC datetimes; stored values are integer milliseconds since the epoch.
"""

from __future__ import annotations

import datetime as dt
import re
import time
from typing import Final, Protocol

__all__ = [
    "Clock",
    "SystemClock",
    "floor_ms",
    "from_ms",
    "parse_timestamp",
    "rfc3339_ms",
    "to_ms",
    "to_seconds",
]

UTC: Final = dt.timezone.utc  # noqa: UP017 - one spelling for 3.11 and mypy
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
# Codex file names, and the header of some very old rollouts, use dashes in the time as well.
_DASHED: Final = r"(\d{4}-\d{2}-\d{2})T(\d{2})-(\d{2})-(\d{2})$"


class Clock(Protocol):
    """Where a store and its live threads take the time from."""

    def now(self) -> dt.datetime:
        """The current time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards, for intervals."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> dt.datetime:
        return dt.datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def to_ms(moment: dt.datetime) -> int:
    """Whole milliseconds since the epoch, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def to_seconds(moment: dt.datetime) -> int:
    """Whole seconds since the epoch, rounded down."""
    since = moment - _EPOCH
    return since.days * 86_400 + since.seconds


def from_ms(ms: int) -> dt.datetime:
    """The aware UTC datetime of *ms* milliseconds since the epoch."""
    return _EPOCH + _MILLISECOND * ms


def floor_ms(moment: dt.datetime) -> dt.datetime:
    """*moment* as stores keep times: in UTC, to the millisecond, rounded down."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def rfc3339_ms(moment: dt.datetime) -> str:
    """``2026-11-22T05:42:54.452Z``: the form of every rollout timestamp (Codex 0.29 to 0.169)."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    second = (utc.second, utc.minute, utc.hour, utc.day, utc.month, utc.year)
    prefix = _prefixes.get(second)
    if prefix is None:
        _prefixes.clear()  # one entry is enough: appends come within the same second
        prefix = _prefixes[second] = utc.strftime("%Y-%m-%dT%H:%M:%S.")
    return f"{prefix}{utc.microsecond // 1000:03}Z"


_prefixes: Final[dict[tuple[int, ...], str]] = {}


def parse_timestamp(text: object) -> dt.datetime | None:
    """Parse RFC 3339 or the dashed file-name form (as UTC); ``None`` if it is neither."""
    if not isinstance(text, str):
        return None
    if text[13:14] == "-" and (dashed := re.match(_DASHED, text)):
        text = f"{dashed[1]}T{dashed[2]}:{dashed[3]}:{dashed[4]}Z"
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return None
