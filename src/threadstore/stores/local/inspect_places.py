"""Whether every rollout on disk is listed, or somebody says why not."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping

from threadstore.clock import from_ms, rfc3339_ms
from threadstore.store import Finding
from threadstore.stores.local.index_db import IndexedFile
from threadstore.stores.local.index_files import MissingThread
from threadstore.stores.local.paths import Home, is_text, plain_path
from threadstore.stores.local.report import Report

__all__ = ["inspect_missing", "inspect_unreadable", "unaccounted"]


def unaccounted(
    home: Home,
    listed: Collection[str],
    files: Mapping[str, IndexedFile],
    findings: Iterable[Finding],
) -> list[str]:
    """What has the name of a rollout, but neither belongs to a thread that is *listed* nor is the
    subject of a finding. There must be none.

    *listed* are ids, active and archived; *files* are those that the index has, by plain path. A
    finding about a folder accounts for all in it.
    """
    subjects = {finding.subject for finding in findings}
    return [
        path
        for path in _named_like_rollouts(home)
        if not _is_listed(files.get(plain_path(path)), listed)
        and subjects.isdisjoint((path, plain_path(path), *_above(home, path)))
    ]


def _is_listed(file: IndexedFile | None, listed: Collection[str]) -> bool:
    return file is not None and file.thread_id in listed


def _above(home: Home, path: str) -> Iterator[str]:
    while len(path) > len(home.home) and path != os.path.dirname(path):
        path = os.path.dirname(path)
        yield path


def inspect_unreadable(home: Home, report: Report) -> None:
    """Report what is in the way where a log or a folder of logs should be."""
    for path in _named_like_rollouts(home):
        reason = _why_no_log(path)
        if reason is not None and is_text(path):
            report.add("warning", "no_log", path, reason)
    for folder, names in _folders(home):
        for name in names:
            if os.path.islink(f"{folder}/{name}") and is_text(name):
                reason = "a symbolic link to a folder: nobody looks for logs behind it"
                report.add("warning", "linked_folder", f"{folder}/{name}", reason)


def inspect_missing(missing: Iterable[MissingThread], report: Report) -> None:
    """Report the threads that are kept though their file is gone."""
    for thread in missing:
        since = rfc3339_ms(from_ms(thread.since_ms))
        name = thread.record.name or thread.record.preview or "thread"
        report.add(
            "warning",
            "missing_file",
            thread.record.rollout_path or thread.record.id,
            f"the file of {name[:60]!r} is missing, which was noticed at {since}; lists leave the"
            " thread out until the file is back",
            thread_id=thread.record.id,
        )


def _why_no_log(path: str) -> str | None:
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "a symbolic link to a file that is not there" if os.path.islink(path) else None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISDIR(mode):
        return "a folder with the name of a log; what lies in it is listed"
    return None if stat.S_ISREG(mode) else "no regular file"


def _named_like_rollouts(home: Home) -> Iterator[str]:
    for root in (home.sessions, home.archived):
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                if name.startswith("rollout-") and name.endswith((".jsonl", ".jsonl.zst")):
                    yield f"{folder}/{name}"


def _folders(home: Home) -> Iterator[tuple[str, list[str]]]:
    for root in (home.sessions, home.archived):
        for folder, folders, _ in os.walk(root):
            yield folder, folders
