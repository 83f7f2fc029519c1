"""What interrupted programs have left behind in a home."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from threadstore.errors import StoreUnavailable
from threadstore.stores.local import name_index
from threadstore.stores.local.archiving import move_back
from threadstore.stores.local.locks import writer_holder
from threadstore.stores.local.paths import (
    ASIDE,
    Home,
    RolloutName,
    existing_path,
    find_rollout,
    is_original,
    parse_rollout_name,
)
from threadstore.stores.local.report import Report

__all__ = ["inspect_leftovers"]

_LOGS: Final = (".jsonl", ".jsonl.zst")
_TEMPORARY: Final = ".tmp"


def inspect_leftovers(home: Home, row_ids: Collection[str], report: Report) -> None:
    """Report files and locks that nobody uses; *row_ids* are the threads that have a row."""
    known = {*row_ids, *_named(home)}
    for folder, names in _folders(home):
        for name in names:
            if name.endswith(ASIDE):
                _inspect_aside(home, f"{folder}/{name}", known, report)
            elif is_original(name):
                reason = "the log as it was before it was repaired: remove it when nobody needs it"
                report.add("info", "kept_original", f"{folder}/{name}", reason)
            elif name.endswith(_TEMPORARY):
                reason = "left behind by a program that was interrupted"
                report.add("info", "leftover_file", f"{folder}/{name}", reason)
            elif name.endswith(_LOGS) and not name.startswith("rollout-"):
                reason = (
                    "neither Codex nor threadstore looks at a log of this name; if it is one of"
                    " theirs, call it rollout-TIME-ID.jsonl again"
                )
                report.add("warning", "renamed_log", f"{folder}/{name}", reason)
    _inspect_locks(home, report)


def _inspect_aside(home: Home, path: str, known: Collection[str], report: Report) -> None:
    """A rollout that stepped aside because its thread was being deleted, or as a spare copy."""
    former = path.removesuffix(ASIDE)
    name = parse_rollout_name(os.path.basename(former))
    thread_id = name.thread_id if name is not None else None
    if thread_id is not None and _is_held(home, thread_id):
        return  # somebody is just deleting it
    what = "the history that a delete was about to remove when it was interrupted"
    taken = _copy_of(home, former, name)
    if taken is not None:
        reason = f"{what}, or a copy of it; there is {taken}: compare them and remove this one"
    elif thread_id is None or thread_id not in known:
        reason = f"{what}: remove it to delete the thread for good, or take {ASIDE} off its name"
    else:
        reason = f"{what}; the thread still has a row or a name, and no list shows it"
        report.add(
            "error",
            "interrupted_delete",
            path,
            reason,
            thread_id=thread_id,
            fix="give it its name back",
            repair=lambda: move_back(home, thread_id, path),
        )
        return
    report.add("error", "interrupted_delete", path, reason, thread_id=thread_id)


def _copy_of(home: Home, former: str, name: RolloutName | None) -> str | None:
    """The file that is what the one once called *former* was."""
    return existing_path(former) or (find_rollout(home, name.rollout_id) if name else None)


def _inspect_locks(home: Home, report: Report) -> None:
    try:
        locks = sorted(os.listdir(home.lock_folder))
    except OSError:
        return
    for name in locks:
        thread_id = name.removesuffix(".lock")
        if name.startswith(".") or thread_id == name:
            continue
        if _is_held(home, thread_id) is False:
            reason = "left behind by a program that was killed; it is free and harms nobody"
            path = f"{home.lock_folder}/{name}"
            report.add("info", "leftover_lock", path, reason, thread_id=thread_id)


def _is_held(home: Home, thread_id: str) -> bool | None:
    """Whether somebody has the thread's writer lock; ``None`` if that cannot be found out."""
    try:
        return writer_holder(home, thread_id) is not None
    except StoreUnavailable:
        return None


def _named(home: Home) -> Iterator[str]:
    """The threads that have a name in the name index."""
    try:
        names = name_index.load(home).names
    except StoreUnavailable:
        return
    for thread_id, name in names.items():
        if name:
            yield thread_id


def _folders(home: Home) -> Iterator[tuple[str, Sequence[str]]]:
    for root in (home.sessions, home.archived):
        for folder, _, names in os.walk(root):
            yield folder, sorted(names)
