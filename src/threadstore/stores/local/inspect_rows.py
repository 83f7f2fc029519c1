"""What is wrong in Codex's database, row by row, compared with the files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Final

from threadstore.errors import StoreUnavailable
from threadstore.metadata import MetadataOrigin, StoredThread, ThreadMetadataPatch
from threadstore.stores.local.database import Database
from threadstore.stores.local.locks import open_by_other_process
from threadstore.stores.local.report import Report
from threadstore.stores.local.state_db import ArchiveChange, StateDb
from threadstore.stores.local.state_rows import StateRow

__all__ = ["inspect_backfill", "inspect_database", "inspect_rows"]

_NEWEST_LEVEL: Final = 62
"""Codex 0.169."""
_PREVIEW_LEVEL: Final = 32
"""From here on (Codex 0.131) rows have a preview, and lists hide those where it is empty."""
_START_AGAIN: Final = (
    "move it, its -wal and its -shm away, and Codex makes a new one from the logs;"
    " `threadstore doctor --fix` then puts back the names"
)
_MUST_SAY: Final = ("source", "model_provider", "cwd")
"""Columns that lists filter by: a thread whose row says nothing there is in none."""


def inspect_database(state: StateDb, report: Report) -> bool:
    """Report on the database as a whole; whether its rows can be read."""
    if not state.exists:
        return False
    if state.reason is not None:
        severity: Final = "error" if not state.readable else "warning"
        code = "state_database_unreadable" if not state.readable else "state_database_read_only"
        reason = f"{state.reason}; the files are used instead where they can be"
        if os.access(state.path, os.W_OK) and not state.locked:
            reason += f". Codex may not start with it: {_START_AGAIN}"
        report.add(severity, code, state.path, reason)
    if not state.readable:
        return False
    if state.level > _NEWEST_LEVEL:
        reason = f"migration {state.level} is newer than what is known here ({_NEWEST_LEVEL})"
        report.add("info", "newer_database", state.path, reason)
    return True


def inspect_backfill(looked: StateDb, state: StateDb, report: Report) -> None:
    """Report if Codex seems to be filling the database while nobody has it open: then it does not
    start for 15 minutes. The repair goes to *state*."""
    try:
        database = Database(looked.path, readonly=True)
        try:
            rows = database.rows("SELECT status FROM backfill_state")
        finally:
            database.close(tidy=False)
    except StoreUnavailable:
        return  # no such table, or nothing can be read beside another program
    if all(row[0] != "running" for row in rows):
        return
    holder = open_by_other_process(looked.path)
    if holder is not None:
        reason = f"{holder} is filling it from the logs; until then lists are not complete"
        report.add("info", "backfill", looked.path, reason)
        return
    report.add(
        "warning",
        "interrupted_backfill",
        looked.path,
        "Codex was interrupted while it filled it, and does not start again for 15 minutes",
        fix="let Codex begin again",
        repair=state.release_backfill,
    )


def inspect_rows(
    looked: StateDb, state: StateDb, threads: Mapping[str, StoredThread], report: Report
) -> set[str]:
    """Report on every row in *looked*, and on threads without one; the ids of all rows.

    Repairs go to *state*, which is another connection to the same database.
    """
    seen: set[str] = set()
    try:
        for row in looked.read_rows():
            seen.add(row.id)
            _inspect_row(looked, state, row, threads.get(row.id), report)
    except StoreUnavailable as error:
        report.add("error", "state_database_unreadable", state.path, str(error))
        return seen
    for thread in threads.values():
        if thread.id not in seen:
            _unindexed(state, thread, report)
    return seen


def _inspect_row(
    looked: StateDb, state: StateDb, row: StateRow, thread: StoredThread | None, report: Report
) -> None:
    _inspect_values(state, row, thread, report)
    if thread is None:
        _orphaned(row, report)
        return
    _inspect_place(state, row, thread, report)
    if not row.preview and looked.level >= _PREVIEW_LEVEL:
        _invisible(state, thread, report)
    if thread.name is not None and _lost_name(row, thread):
        report.add(
            "warning",
            "clobbered_name",
            row.id,
            f"the row has lost the name {thread.name!r}; the name index still has it",
            thread_id=row.id,
            fix="write the name into the row",
            repair=_writing(
                state, thread, ThreadMetadataPatch(name=thread.name), MetadataOrigin.EXPLICIT
            ),
        )


def _lost_name(row: StateRow, thread: StoredThread) -> bool:
    """Whether the row does not say the name where Codex looks for it."""
    if thread.history_mode == "legacy":
        return row.title != thread.name
    has_column = row.history_mode is not None
    return has_column and not (row.name or "").strip()


def _inspect_values(
    state: StateDb, row: StateRow, thread: StoredThread | None, report: Report
) -> None:
    for problem in row.damage:
        column = problem.partition(" ")[0]
        mendable = thread is not None and column != "id"
        report.add(
            "error",
            "damaged_row",
            row.id,
            f"the row cannot be read as it is: {problem}",
            thread_id=row.id,
            fix="write what the log says" if mendable else None,
            repair=_correcting(state, thread, [column]) if mendable else None,
        )
    empty = [column for column in _MUST_SAY if getattr(row, column) in ("", "unknown")]
    silent = [column for column in empty if getattr(thread, column, "") not in ("", "unknown")]
    if silent and not row.damage:
        report.add(
            "warning",
            "incomplete_row",
            row.id,
            f"the row says nothing about {', '.join(silent)}: Codex leaves the thread out of lists",
            thread_id=row.id,
            fix="write what the log says",
            repair=_correcting(state, thread, silent),
        )


def _correcting(
    state: StateDb, thread: StoredThread | None, columns: list[str]
) -> Callable[[], object] | None:
    if thread is None:
        return None
    return lambda: state.correct(thread, columns, path=thread.rollout_path or "")


def _orphaned(row: StateRow, report: Report) -> None:
    elsewhere = os.path.exists(row.rollout_path)
    where = "lies outside this home" if elsewhere else "is gone"
    reason = f"a row without a thread: its file {row.rollout_path} {where}"
    report.add("warning", "orphaned_row", row.id, reason, thread_id=row.id)


def _unindexed(state: StateDb, thread: StoredThread, report: Report) -> None:
    path = thread.rollout_path or ""
    report.add(
        "info",
        "unindexed",
        path,
        "has no row: lists that Codex makes from its database leave it out",
        thread_id=thread.id,
        fix="add the row",
        repair=lambda: state.insert_if_absent(thread, path=path),
    )


def _inspect_place(state: StateDb, row: StateRow, thread: StoredThread, report: Report) -> None:
    path = thread.rollout_path or ""
    if row.archived is not thread.archived:
        change = ArchiveChange(thread.id, path, thread.archived_at)
        report.add(
            "warning",
            "stale_archive_mark",
            row.id,
            f"the row says {_archived(row.archived)}, the file lies among the "
            f"{_archived(thread.archived)} ones",
            thread_id=row.id,
            fix="correct the row",
            repair=lambda: state.set_archived([change]),
        )
    elif not _same_place(row.rollout_path, path):
        report.add(
            "warning",
            "stale_path",
            row.id,
            f"the row says {row.rollout_path}, the file is {path}: Codex may not list or resume it",
            thread_id=row.id,
            fix="correct the row",
            repair=lambda: state.set_rollout_path(row.id, old=row.rollout_path, new=path),
        )


def _same_place(one: str, other: str) -> bool:
    """Whether two paths mean one file: a home may be reached through a symbolic link. Codex 0.131
    to 0.163 write the link's target for a home that ``CODEX_HOME`` names, the link for the default
    one, and read either."""
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _invisible(state: StateDb, thread: StoredThread, report: Report) -> None:
    if thread.preview:
        patch = ThreadMetadataPatch(preview=thread.preview)
        report.add(
            "warning",
            "invisible_row",
            thread.id,
            "the row has no preview, which hides the thread from Codex's lists; the log has one",
            thread_id=thread.id,
            fix="write the preview into the row",
            repair=_writing(state, thread, patch, MetadataOrigin.OBSERVED),
        )
    elif thread.name is not None:
        reason = f"{thread.name!r} has a name but no message yet, so Codex does not list it"
        report.add("info", "invisible_row", thread.id, reason, thread_id=thread.id)


def _writing(
    state: StateDb, thread: StoredThread, patch: ThreadMetadataPatch, origin: MetadataOrigin
) -> Callable[[], object]:
    path = thread.rollout_path or ""
    return lambda: state.write(thread, patch, origin=origin, path=path, durable=True)


def _archived(archived: bool) -> str:  # noqa: FBT001 - a word for a flag
    return "archived" if archived else "active"
