"""The app server on one long thread, beside Codex 0.169 on a copy of the same home."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.codex.app_server import AppServer

from benchmarks.homes import make_history
from benchmarks.measure import Figure, Result, median
from benchmarks.piles import copies
from benchmarks.servers import CODEX, OURS, codex_binary, line, peak
from benchmarks.sizes import pick

Ask = Callable[[AppServer, str], object]


def _homes(megabytes: int) -> tuple[tuple[Path, Path], str, str]:
    """Homes with a long thread and a short one, and the ids of both."""

    def fill(home: str) -> None:
        make_history(home, megabytes * 1_000_000)
        make_history(home, 100_000, number=2)

    homes = copies(f"thread-{megabytes}", fill)
    long, short = sorted(path.stem[-36:] for path in homes[0].glob("sessions/*/*/*/*.jsonl"))
    return homes, long, short


def _fresh(
    name: str,
    megabytes: int,
    ask: Ask,
    *,
    goal: float,
    memory_goal: float | None = None,
    rounds: int = 5,
) -> Iterator[Result]:
    """*ask* of servers just started, which have been asked the same of a short thread: its time
    for a thread that nobody has open, and their memory."""
    homes, long, short = _homes(megabytes)
    times: tuple[list[float], list[float]] = [], []
    memory: tuple[list[float], list[float]] = [], []
    for _ in range(pick(rounds, 1)):
        for side, program in enumerate((OURS, codex_binary(CODEX))):
            with AppServer(program, homes[side], homes[side], patience=300.0) as server:
                ask(server, short)
                start = time.perf_counter()
                ask(server, long)
                times[side].append(time.perf_counter() - start)
                memory[side].append(peak(server))
    mine, theirs = (Figure.of(each, median) for each in times)
    yield line(name, mine, theirs, goal=goal)
    mine, theirs = (Figure.of(each, median) for each in memory)
    yield line(f"{name}: peak memory", mine, theirs, goal=memory_goal, unit="bytes")


def read(_folder: str) -> Iterator[Result]:
    """All turns of a thread."""

    def turns(server: AppServer, thread_id: str) -> None:
        assert server.call("thread/read", threadId=thread_id, includeTurns=True)["thread"]["turns"]

    for megabytes in (pick(20, 1), pick(50, 2)):
        yield from _fresh(
            f"read {megabytes} MB with turns", megabytes, turns, goal=1 / 2, memory_goal=1 / 2
        )


def last_turns(_folder: str) -> Iterator[Result]:
    """The end of a long thread."""
    megabytes = pick(200, 2)

    def last(server: AppServer, thread_id: str) -> None:
        params = {"threadId": thread_id, "limit": 20, "sortDirection": "desc"}
        assert len(server.call("thread/turns/list", **params)["data"]) == 20

    yield from _fresh(f"last 20 turns of {megabytes} MB", megabytes, last, goal=1 / 50)


def edit(_folder: str) -> Iterator[Result]:
    """A change of git facts of a long cold thread."""
    megabytes = pick(200, 2)

    def git(server: AppServer, thread_id: str) -> None:
        facts = {"sha": "2" * 40, "branch": "other"}
        server.call("thread/metadata/update", threadId=thread_id, gitInfo=facts)

    yield from _fresh(f"git edit of a cold {megabytes} MB", megabytes, git, goal=1 / 50)


def resume(_folder: str) -> Iterator[Result]:
    """Going on with a long thread."""
    megabytes = pick(200, 2)

    def go_on(server: AppServer, thread_id: str) -> None:
        server.call("thread/resume", threadId=thread_id)

    name = f"resume of {megabytes} MB"
    yield from _fresh(name, megabytes, go_on, goal=1 / 4, memory_goal=1 / 3, rounds=3)


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [read, last_turns, edit, resume]
