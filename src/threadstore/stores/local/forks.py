"""What threads stand on, in the words of the contract: another thread and a number of lines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Final

from threadstore.errors import ThreadNotFound, Unsupported
from threadstore.metadata import HistoryBase, NewThread, StoredThread
from threadstore.store import check_position
from threadstore.stores.local.lineage import (
    Base,
    FindRollout,
    Lineage,
    Segment,
    base_at,
    resolve_lineage,
)
from threadstore.stores.local.paths import parse_rollout_name, unavailable

__all__ = ["base_of_new", "history_base", "lineage_of"]

_TAKEN_BACK: Final = "it stands on lines that their own thread has taken back"


def base_of_new(
    new: NewThread, source: StoredThread | None, find_rollout: FindRollout
) -> Base | None:
    """Where a fork by reference begins; paginated threads only, as in Codex 0.150 to 0.169.

    Raises what ``create_thread`` raises.
    """
    wanted = new.history_base
    if wanted is None:
        return None
    if source is None or source.rollout_path is None:
        raise ThreadNotFound(wanted.thread_id)
    if new.history_mode != "paginated" or source.history_mode != "paginated":
        raise Unsupported("history_base", "the history of a legacy thread has to be copied")
    check_position(wanted.position, "position")
    if not wanted.position:
        return None
    with _reading(source.id, source.rollout_path):
        return base_at(source.rollout_path, find_rollout, wanted.position)


def lineage_of(thread_id: str, path: str, find_rollout: FindRollout) -> Lineage:
    """What makes up the history of the thread whose current rollout is *path*.

    Raises ThreadNotFound if it is gone, StoreUnavailable if it cannot be read.
    """
    with _reading(thread_id, path):
        return resolve_lineage(path, find_rollout)


@contextlib.contextmanager
def _reading(thread_id: str, path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ThreadNotFound(thread_id) from error
    except OSError as error:
        raise unavailable(error, f"cannot read {path}") from error


def history_base(
    thread_id: str,
    path: str,
    find_rollout: FindRollout,
    find_thread: Callable[[str], StoredThread | None],
) -> HistoryBase | None:
    """What the thread whose current rollout is *path* stands on; see the contract."""
    lineage = lineage_of(thread_id, path, find_rollout)
    inherited = lineage.segments[:-1]
    if not inherited or any(segment.missing for segment in lineage.segments):
        return None
    name = parse_rollout_name(os.path.basename(inherited[-1].path))
    base = HistoryBase(thread_id=name.thread_id if name else "", position=lineage.inherited)
    if base.thread_id == thread_id:
        return base
    owner = find_thread(base.thread_id) if name else None
    if owner is None or owner.rollout_path is None:
        raise Unsupported("history_base", _TAKEN_BACK)
    now = lineage_of(owner.id, owner.rollout_path, find_rollout).segments
    if not _begins_with(now, inherited):
        raise Unsupported("history_base", _TAKEN_BACK)
    return base


def _begins_with(history: tuple[Segment, ...], part: tuple[Segment, ...]) -> bool:
    """Whether all lines of *part* are the first ones of *history*, too."""
    for ours, used in zip(history, part, strict=False):
        if ours.path != used.path:
            return False
        if ours.lines is not None and (used.lines is None or used.lines > ours.lines):
            return False
    return len(history) >= len(part)
