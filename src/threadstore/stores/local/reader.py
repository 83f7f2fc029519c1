"""Reading the history of a thread in batches, forwards and backwards, with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.stores.local.lineage import FindRollout

__all__ = ["Batch", "FindRollout", "read_file", "read_header", "read_history"]

Batch: TypeAlias = list[RolloutItem | DamagedLine]


def read_history(
    path: str, find_rollout: FindRollout, *, after: int = 0, reverse: bool = False
) -> Iterator[Batch]:
    """Batches of the thread whose current rollout is *path*, inherited lines of its base first.

    Every entry has its position and only entries with a position above *after* come. The files
    are read as long as they were when they were opened. A base that cannot be read is reported as
    one DamagedLine in the place of all its lines.

    Raises FileNotFoundError if *path* is gone, StoreUnavailable for other trouble with it. Both
    come at the first step of the iterator.
    """
    raise NotImplementedError


def read_file(path: str, *, after: int = 0, reverse: bool = False) -> Iterator[Batch]:
    """The same for one file alone, without what it inherits: its first line has position 1."""
    raise NotImplementedError


def read_header(path: str) -> RolloutItem | None:
    """The first ``session_meta`` among the first lines of the file, which names its thread.

    ``None`` if there is none. Raises as :func:`read_history`, but at once.
    """
    raise NotImplementedError
