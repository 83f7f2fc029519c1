"""Where the files of a thread are at this moment, and which of several stands for it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from threadstore.errors import Conflict
from threadstore.stores.local.paths import (
    Home,
    RolloutFile,
    other_place,
    parse_rollout_name,
    stat_rollout,
)
from threadstore.stores.local.state_rows import StateRow

if TYPE_CHECKING:
    from threadstore.stores.local.lineage import FindRollout

__all__ = ["choose_file", "file_now", "files_now", "refuse_references"]


def file_now(home: Home, path: str) -> RolloutFile | None:
    """The file that was at *path*, there or where somebody has archived or unarchived it to.

    ``None`` for a place outside of this home, which an index may know that was copied with it.
    """
    if not path.startswith((f"{home.sessions}/", f"{home.archived}/")):
        return None
    other = other_place(home, path)
    for place in (path, other, path, other):  # it may be moved between two looks
        file = stat_rollout(home, place)
        if file is not None:
            return file
    return None


def files_now(home: Home, paths: Iterable[str]) -> list[RolloutFile]:
    """The files that were at *paths*, each once."""
    files = [file for path in paths if (file := file_now(home, path)) is not None]
    return list({file.path: file for file in files}.values())


def refuse_references(
    stands: Iterable[tuple[str, str | None]],
    thread_ids: Collection[str],
    find_rollout: FindRollout,
    hint: str,
) -> None:
    """Conflict if a thread outside *thread_ids*, with that rollout, stands on one of them."""
    for thread_id, path in stands:
        if thread_id in thread_ids or path is None:
            continue
        for owner in _owners(path, find_rollout):
            if owner in thread_ids:
                raise Conflict(
                    f"the history of thread {thread_id} stands on thread {owner}", hint=hint
                )


def _owners(path: str, find_rollout: FindRollout) -> Iterator[str]:
    """The threads on whose rollouts a rollout stands."""
    from threadstore.stores.local.lineage import resolve_lineage  # here: no list asks for it

    try:
        segments = resolve_lineage(path, find_rollout).segments
    except OSError:
        return
    for segment in segments:
        name = parse_rollout_name(os.path.basename(segment.path))
        if name is not None:
            yield name.thread_id


def choose_file(
    thread_id: str, files: Collection[RolloutFile], row: StateRow | None
) -> RolloutFile | None:
    """The file that stands for a thread: one that bears its name before a renamed copy, the one
    its row names (in whichever folder it is now), an active one before an archived one."""
    if len(files) > 1:
        named = [file for file in files if file.name and file.name.thread_id == thread_id]
        files = named or files
    from threadstore.stores.local.lineage import current_rollout

    preferred: str | None = None
    if row is not None and len(files) > 1:
        wanted = os.path.basename(row.rollout_path)
        same = [file for file in files if os.path.basename(file.path) == wanted]
        preferred = min(same, key=lambda file: file.archived).path if same else None
    return current_rollout(files, preferred)
