"""What is wrong in the name index, and where it and the rows disagree about a name."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from threadstore.clock import Clock
from threadstore.errors import StoreUnavailable
from threadstore.ids import try_thread_id
from threadstore.metadata import StoredThread
from threadstore.stores.local import name_index
from threadstore.stores.local.locks import index_lock
from threadstore.stores.local.paths import Home, unavailable
from threadstore.stores.local.report import Report

__all__ = ["inspect_names"]


def inspect_names(
    home: Home,
    threads: Mapping[str, StoredThread],
    row_ids: Collection[str],
    clock: Clock,
    report: Report,
) -> None:
    """Report on ``session_index.jsonl``."""
    try:
        with open(home.name_index, "rb") as file:
            content = file.read()
        names = name_index.load(home).names
    except FileNotFoundError:
        content, names = b"", {}
    except (OSError, StoreUnavailable) as error:
        report.add("error", "unreadable_file", home.name_index, str(error))
        return
    if content and not content.endswith(b"\n"):
        report.add(
            "warning",
            "no_final_newline",
            home.name_index,
            "does not end in a newline: Codex would glue the next name to it and lose both",
            fix="add the newline",
            repair=lambda: _add_newline(home),
        )
    lost = _inspect_lines(home, content, report)
    for thread_id, name in lost.items():
        if thread_id not in names and thread_id in threads:
            report.add(
                "warning",
                "lost_name",
                home.name_index,
                f"the name {name!r} stands in a damaged line that nobody can read",
                thread_id=thread_id,
                fix="add the entry again",
                repair=_naming(home, thread_id, name, clock),
            )
    for thread_id, name in names.items():
        if name and thread_id not in threads and thread_id not in row_ids:
            reason = f"names a thread that is not here: {name!r}"
            report.add("info", "orphaned_name", home.name_index, reason, thread_id=thread_id)
    for thread in threads.values():
        if thread.name is not None and not names.get(thread.id):
            report.add(
                "info",
                "unindexed_name",
                thread.id,
                f"the name {thread.name!r} stands in the row only: some releases lose it there",
                thread_id=thread.id,
                fix="add it to the name index",
                repair=_naming(home, thread.id, thread.name, clock),
            )


def _naming(home: Home, thread_id: str, name: str, clock: Clock) -> Any:
    return lambda: name_index.append(home, thread_id, name, clock.now())


def _inspect_lines(home: Home, content: bytes, report: Report) -> dict[str, str]:
    """Report damaged lines; the entries that are glued to something in them."""
    found: dict[str, str] = {}
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip() or _is_entry(line):
            continue
        pieces = dict(_pieces(line.decode("utf-8", "replace")))
        found |= pieces
        kind = "entries glued together" if pieces else "no entry"
        report.add("warning", "damaged_name", home.name_index, f"line {number}: {kind}")
    return found


def _is_entry(line: bytes) -> bool:
    try:
        return _entry(json.loads(line)) is not None
    except ValueError:
        return False


def _pieces(text: str) -> Iterator[tuple[str, str]]:
    """The entries in a line that is more or less than one entry."""
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, start = decoder.raw_decode(text, start)
        except ValueError:
            start += 1
        else:
            entry = _entry(value)
            if entry is not None:
                yield entry
        start = text.find("{", start)


def _entry(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, dict) or not isinstance(value.get("updated_at"), str):
        return None
    thread_id, name = try_thread_id(str(value.get("id"))), value.get("thread_name")
    return (thread_id, name.strip()) if thread_id and isinstance(name, str) else None


def _add_newline(home: Home) -> None:
    with index_lock(home):
        try:
            descriptor = os.open(home.name_index, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                os.write(descriptor, b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unavailable(error, f"cannot write {home.name_index}") from error
