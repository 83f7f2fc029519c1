"""A Codex home for tests, written line by line as the releases write it."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from threadstore.clock import UTC, rfc3339_ms
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.metadata import StoredThread
from threadstore.stores.local.derive import Derived, derive
from threadstore.stores.local.paths import Home, RolloutFile, find_rollout, stat_rollout
from threadstore.testing import items

START = dt.datetime(2026, 5, 4, 3, 2, 1, 123000, tzinfo=UTC)
GIT = {"commit_hash": "abc", "branch": "main", "repository_url": "https://example.org/r.git"}


def encode(lines: Iterable[RolloutItem | bytes], *, start: dt.datetime = START) -> bytes:
    """A log with one second between the lines; bytes stand as they are."""
    done = [
        line if isinstance(line, bytes) else line.encode(rfc3339_ms(start + dt.timedelta(0, i)))
        for i, line in enumerate(lines)
    ]
    return b"".join(line + b"\n" for line in done)


def header(thread_id: str, **fields: Any) -> RolloutItem:
    """A header of 0.131."""
    return items.session_meta(thread_id, created_at=START, **fields)


class CodexHome:
    """A home in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = Home(home=str(folder), sqlite_home=str(folder))

    def path(self, thread_id: str, *, archived: bool = False, stamp: str = "") -> str:
        """Where Codex would put a thread of ``START``."""
        name = f"rollout-{stamp or '2026-05-04T03-02-01'}-{thread_id}.jsonl"
        folder = self.home.archived if archived else f"{self.home.sessions}/2026/05/04"
        return f"{folder}/{name}"

    def write(
        self,
        lines: Iterable[RolloutItem | bytes] | bytes,
        thread_id: str = "",
        *,
        path: str = "",
        archived: bool = False,
    ) -> RolloutFile:
        """A rollout with these lines (or bytes)."""
        path = path or self.path(thread_id, archived=archived)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = lines if isinstance(lines, bytes) else encode(lines)
        Path(path).write_bytes(data)
        file = stat_rollout(self.home, path)
        assert file is not None
        return file

    def thread(self, text: str = "hello", thread_id: str = "", **fields: Any) -> str:
        """The id of a new thread with one turn."""
        thread_id = thread_id or new_thread_id()
        self.write([header(thread_id, **fields), *items.turn("t1", text)], thread_id)
        return thread_id

    def name(self, thread_id: str, name: str) -> None:
        """An entry of the name index, as Codex appends it."""
        entry = {"id": thread_id, "thread_name": name, "updated_at": "2026-05-04T03:02:01Z"}
        with open(self.home.name_index, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def derive(self, file: RolloutFile) -> Derived:
        """What the file says."""
        return derive(file, lambda rollout_id: find_rollout(self.home, rollout_id))

    def facts(self, lines: Iterable[RolloutItem | bytes], thread_id: str) -> StoredThread:
        """The thread that a log with these lines describes."""
        thread = self.derive(self.write(lines, thread_id)).thread
        assert thread is not None
        return thread
