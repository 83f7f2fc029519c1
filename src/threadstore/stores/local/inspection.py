"""``doctor``: what is damaged, stale, orphaned or invisible in a home, and why.

Looks at everything afresh and writes nothing, not even our own index. Repairs only add: a row, an
entry, a newline, a corrected path. What is there is never changed or removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from threadstore.metadata import StoredThread
from threadstore.store import Finding
from threadstore.stores.local.derive import EMPTY
from threadstore.stores.local.index_db import IndexDb, IndexedFile
from threadstore.stores.local.inspect_leftovers import inspect_leftovers
from threadstore.stores.local.inspect_names import inspect_names
from threadstore.stores.local.inspect_places import (
    inspect_missing,
    inspect_unreadable,
    unaccounted,
)
from threadstore.stores.local.inspect_rollouts import inspect_rollout
from threadstore.stores.local.inspect_rows import inspect_backfill, inspect_database, inspect_rows
from threadstore.stores.local.lineage import resolve_lineage
from threadstore.stores.local.paths import Home, find_rollout, scan
from threadstore.stores.local.report import Report
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.sync import IndexSync

__all__ = ["inspect"]


def inspect(
    home: Home, state: StateDb | None, index: IndexDb, sync: IndexSync, *, fix: bool = False
) -> list[Finding]:
    """Everything that is wrong, with the reason; repaired as far as possible if *fix*.

    *state* ``None`` leaves Codex's database out. *index* and *sync* are those of the store: they
    are compared with what is there, and brought up to date if *fix*.
    """
    report = Report(fix=fix)
    paths = _inspect_files(home, report)
    inspect_unreadable(home, report)
    with contextlib.ExitStack() as stack:
        looked = None
        if state is not None:
            looked = StateDb(state.path)  # of its own, to look at the file as it is now
            stack.callback(looked.close)
            looked.open()
        readable = looked is not None and inspect_database(looked, report)
        threads, known, problems = _look_afresh(sync, looked if readable else None)
        for folder, reason in problems.items():
            report.add("error", "unreadable_folder", folder, reason)
        _inspect_owners(home, threads, known, paths, report)
        row_ids: set[str] = set()
        if state is not None and looked is not None and readable:
            inspect_backfill(looked, state, report)
            row_ids = inspect_rows(looked, state, threads, report)
    inspect_missing(sync.missing_threads(), report)
    inspect_names(home, threads, row_ids, sync.clock, report)
    _inspect_index(index, threads, sync, report)
    inspect_leftovers(home, row_ids, report)
    for path in unaccounted(home, threads.keys(), known, report.findings):
        report.add("error", "unaccounted_file", path, "is in no list, and nothing says why")
    if fix and state is not None:
        state.open()
    findings = report.finish()
    if fix:
        sync.refresh(force=True)
    return findings


def _inspect_files(home: Home, report: Report) -> list[str]:
    paths = []
    for file in scan(home):
        inspect_rollout(home, file, report)
        paths.append(file.path)
    return paths


def _look_afresh(
    sync: IndexSync, state: StateDb | None
) -> tuple[dict[str, StoredThread], dict[str, IndexedFile], dict[str, str]]:
    """Every thread and file as a new index would have them, and folders that cannot be read."""
    index = IndexDb(None)
    index.open()
    try:
        fresh = sync.beside(state, index)
        fresh.refresh()
        return {thread.id: thread for thread in fresh.threads()}, index.files(), fresh.problems
    finally:
        index.close()


def _inspect_owners(
    home: Home,
    threads: dict[str, StoredThread],
    known: dict[str, IndexedFile],
    paths: Iterable[str],
    report: Report,
) -> None:
    """Whether each file stands for its thread, and if not, why."""
    parts: dict[str, set[str]] = {}
    for path in paths:
        file = known.get(path)
        if file is None:
            continue  # it came or went while we looked
        thread = threads.get(file.thread_id) if file.thread_id is not None else None
        if thread is None:
            if file.problem != EMPTY:  # that was said already
                report.add("error", "no_thread", path, file.problem or "belongs to no thread")
            continue
        if thread.rollout_path == path:
            if file.problem is not None and "inherited" in file.problem:
                report.add("error", "broken_lineage", path, file.problem, thread_id=thread.id)
            continue
        if thread.id not in parts:
            parts[thread.id] = set(_segments(home, thread))
        if path not in parts[thread.id]:
            reason = f"another copy of a thread that is {thread.rollout_path} here"
            report.add("warning", "duplicate_thread", path, reason, thread_id=thread.id)


def _segments(home: Home, thread: StoredThread) -> Iterator[str]:
    try:
        lineage = resolve_lineage(
            thread.rollout_path or "", lambda rollout_id: find_rollout(home, rollout_id)
        )
    except OSError:
        return
    for segment in lineage.segments:
        yield segment.path


def _inspect_index(
    index: IndexDb, threads: dict[str, StoredThread], sync: IndexSync, report: Report
) -> None:
    subject = index.path or "the list index"
    if index.degraded is not None:
        reason = f"{index.degraded}; every process starts with an empty one"
        report.add("warning", "index_unavailable", subject, reason)
    if index.rebuilt is not None:
        reason = f"was made anew: {index.rebuilt}"
        report.add("info", "index_rebuilt", subject, reason)
    if sync.due():
        return  # the next list brings it up to date
    missing, extra = threads.keys() - index.ids(), index.ids() - threads.keys()
    if missing or extra:
        report.add(
            "warning",
            "stale_index",
            subject,
            f"{len(missing)} threads are not in it, {len(extra)} in it are not here",
            fix="bring it up to date",
            repair=lambda: [sync.refresh_thread(thread_id) for thread_id in missing | extra],
        )
