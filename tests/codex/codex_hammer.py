"""Codex's part of the hammering: one app server at a time, ended now and then to let threads go."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, Any

from tests.codex.app_server import AppServer, RpcError
from tests.codex.ledger import Ledger

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.releases import Release

_WEIGHTS = {
    "start": 2,
    "turn": 8,
    "resume": 4,
    "rename": 6,
    "edit_git": 3,
    "edit_memory_mode": 2,
    "archive": 2,
    "unarchive": 2,
    "list": 3,
    "read": 3,
}
_ROUND = 6.0
"""Seconds after which Codex ends and begins anew: it holds what it has loaded until then."""
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
EXPECTED = re.compile(
    "already has an active writer|is archived|no (archived )?rollout found for thread id"
    r"|/rollout-[^`/]+\.jsonl`: file does not exist"  # moved after Codex had found it
)
"""What Codex says to a request for a thread that another process holds, or has moved. That nothing
is missing in the end is seen in the files."""


class CodexHammer:
    """Random work on whatever threads there are, through Codex."""

    def __init__(self, release: Release, home: Path, cwd: Path, seed: int) -> None:
        self._release, self._home, self._cwd = release, home, cwd
        self._seed = seed
        self._random = random.Random(seed)
        self._number = 0
        self._started: set[str] = set()
        self._loaded: list[str] = []
        self.ledger = Ledger()
        self._server: AppServer

    def run(self, seconds: float) -> None:
        """Work until the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pause = min(end, time.monotonic() + _ROUND)
            with self._release.serve(self._home, self._cwd) as self._server:
                self._loaded = []
                while time.monotonic() < pause:
                    self._step()

    def _step(self) -> None:
        (word,) = self._random.choices([*_WEIGHTS], weights=[*_WEIGHTS.values()])
        try:
            getattr(self, f"_{word}")()
        except RpcError as error:
            if EXPECTED.search(error.message):
                self.ledger.count(self.ledger.refused, _IDS.sub("…", str(error)))
            else:
                self.ledger.problems.append(str(error))
        else:
            self.ledger.count(self.ledger.done, word)

    def _listed(self, **params: Any) -> list[str]:
        ids: list[str] = []
        cursor = None
        while True:
            page = self._server.call("thread/list", cursor=cursor, **params)
            ids += [thread["id"] for thread in page["data"]]
            cursor = page["nextCursor"]
            if cursor is None:
                return ids

    def _any(self, *, archived: bool = False) -> str | None:
        ids = self._listed(limit=100, archived=archived)
        return self._random.choice(ids) if ids else None

    def _run_turn(self, thread_id: str) -> None:
        self._number += 1
        text = f"text {self._seed}.{self._number} of codex"
        with self.ledger.change(thread_id, "text", text):
            status = self._server.turn_status(thread_id, f"{text} [scene plain]")
        if status != "completed":
            self.ledger.problems.append(f"turn: {status}")

    def _start(self) -> None:
        mode = self._random.choice(self._release.modes)
        thread_id = self._server.start_thread(self._cwd, historyMode=mode)
        self._run_turn(thread_id)
        self._loaded.append(thread_id)
        self._started.add(thread_id)

    def _turn(self) -> None:
        if self._loaded:
            self._run_turn(self._random.choice(self._loaded))

    def _resume(self) -> None:
        thread_id = self._any()
        if thread_id is not None and thread_id not in self._loaded and len(self._loaded) < 6:
            self._server.call("thread/resume", threadId=thread_id)
            self._loaded.append(thread_id)
            self._run_turn(thread_id)

    def _rename(self) -> None:
        thread_id = self._any()
        self._number += 1
        if thread_id is not None:
            name = f"name {self._seed}.{self._number} of codex"
            with self.ledger.change(thread_id, "name", name):
                self._server.call("thread/name/set", threadId=thread_id, name=name)

    def _edit_git(self) -> None:
        thread_id = self._any()
        self._number += 1
        if thread_id is not None:
            branch = f"branch-{self._seed}-{self._number}"
            with self.ledger.change(thread_id, "branch", branch):
                self._server.call(
                    "thread/metadata/update", threadId=thread_id, gitInfo={"branch": branch}
                )

    def _edit_memory_mode(self) -> None:
        thread_id = self._any()
        if thread_id is not None:
            mode = self._random.choice(["enabled", "disabled"])
            with self.ledger.change(thread_id, "memory_mode", mode):
                self._server.call("thread/memoryMode/set", threadId=thread_id, mode=mode)

    def _archive(self) -> None:
        thread_id = self._any()
        if thread_id is not None:
            # Codex lets go of a thread before it archives it: somebody else may be quicker, and
            # then it is neither archived nor loaded.
            if thread_id in self._loaded:
                self._loaded.remove(thread_id)
            with self.ledger.change(thread_id, "archived", "yes"):
                self._server.call("thread/archive", threadId=thread_id)

    def _unarchive(self) -> None:
        thread_id = self._any(archived=True)
        if thread_id is not None:
            with self.ledger.change(thread_id, "archived", "no"):
                self._server.call("thread/unarchive", threadId=thread_id)

    def _list(self) -> None:
        both = [self._listed(limit=9, sortKey="created_at", archived=b) for b in (False, True)]
        for ids in both:
            if len(ids) != len(set(ids)):
                self.ledger.problems.append("Codex lists a thread twice")
        self._check_started({*both[0], *both[1]})

    def _check_started(self, seen: set[str]) -> None:
        """Somebody may have moved a thread between the two lists: then look once more."""
        if missing := self._started - seen:
            again = self._listed(limit=100) + self._listed(limit=100, archived=True)
            if missing - {*again}:
                self.ledger.problems.append(f"Codex does not list {missing}")

    def _read(self) -> None:
        thread_id = self._any()
        if thread_id is not None:
            self._server.call("thread/read", threadId=thread_id, includeTurns=True)
