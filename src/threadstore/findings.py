"""What stores report about damage, and what they do about it."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Finding", "Repair", "RepairedLine"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that ``inspect`` found to be damaged, stale, orphaned or invisible."""

    code: str
    """Stable word, e.g. ``damaged_line``, ``stale_path``, ``orphaned_row``, ``no_header``."""
    severity: Literal["info", "warning", "error"]
    subject: str
    """The file, row or entry, as a path or an id."""
    reason: str
    """What is wrong and what it costs, for people."""
    thread_id: str | None = None
    fix: str | None = None
    """What ``inspect(fix=True)`` does about it; ``None`` if nothing can be added to mend it."""
    fixed: bool = False
    repairable: bool = False
    """Whether ``repair_thread`` mends it: bytes of the history would have to change."""


class RepairedLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a repaired log."""

    number: int
    """Number of the line in the log as it is; 0: added before the first. An added line has the
    number of the line it follows."""
    line: bytes | None
    """The line as it should be, without its newline; ``None``: what was there cannot be kept."""
    change: str | None = None
    """What was changed and why, for people; ``None``: nothing, byte for byte."""


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What ``repair_thread`` did."""

    changes: tuple[RepairedLine, ...]
    """The lines that were changed, added or lost; none: nothing had to be done."""
    original: str | None = None
    """Where the log is kept as it was, byte for byte."""
