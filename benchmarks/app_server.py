"""The app server on many threads, beside Codex 0.169 on a copy of the same home."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from tests.codex.app_server import AppServer

from benchmarks.measure import Result, in_turn, median
from benchmarks.piles import RARE, copies, empty_copies, make_pile, make_texts
from benchmarks.servers import (
    CODEX,
    OURS,
    Pair,
    codex_binary,
    first_page,
    line,
    peak,
    started,
)
from benchmarks.sizes import pick

_SOURCES: Final = ["cli", "vscode", "exec"]
DATABASES: Final = ("state_5.sqlite", "threadstore_", "logs_2.sqlite")


def _pile(threads: int, *, linked: bool = False) -> tuple[Path, Path]:
    return copies(f"pile-{threads}", lambda home: make_pile(home, threads), linked=linked)


def lists(_folder: str) -> Iterator[Result]:
    """First pages, searches in titles, and all pages."""
    for threads in (pick(10_000, 300), pick(100_000, 600)):
        with Pair.on(_pile(threads, linked=threads >= 100_000)) as pair:
            yield from _pages(pair, threads)
            yield line(
                f"peak memory with {threads:,} threads",
                peak(pair.ours),
                peak(pair.theirs),
                goal=None,
                unit="bytes",
            )


def _pages(pair: Pair, threads: int) -> Iterator[Result]:
    rounds = pick(5, 2)
    for key in ("created_at", "updated_at"):

        def page(server: AppServer, key: str = key, **params: Any) -> None:
            assert len(first_page(server, sortKey=key, **params)) == 50

        def by_rows(server: AppServer, page: Callable[..., None] = page) -> None:
            page(server, useStateDbOnly=True)

        name = f"first 50 of {threads:,} by {key}"
        yield pair.compare(name, page, 1 / 20, rounds=rounds)
        yield pair.compare(f"{name}, database only", by_rows, 1 / 2, rounds=rounds)

    def titled(server: AppServer) -> None:
        assert first_page(server, searchTerm=f"Task {threads // 2}:", sourceKinds=_SOURCES)

    yield pair.compare(f"title search in {threads:,}", titled, 1 / 100, rounds=pick(3, 1))

    def walk(server: AppServer) -> None:
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            answer = server.call(
                "thread/list",
                limit=100,
                modelProviders=[],
                sourceKinds=_SOURCES,
                cursor=cursor,
            )
            ids = {thread["id"] for thread in answer["data"]}
            assert not ids & seen
            seen |= ids
            if (cursor := answer["nextCursor"]) is None:
                break
        active = sum(number % 13 != 5 for number in range(threads))
        missing.append(active - len(seen))

    missing: list[int] = []
    if threads <= 10_000:
        yield pair.compare(f"all pages of {threads:,}", walk, 1 / 20, rounds=1)
        assert not any(missing[::2]), f"threads missing from our pages: {missing}"


def search(_folder: str) -> Iterator[Result]:
    """A rare word in what was said: 1 GB."""
    size = pick(1_000_000_000, 4_000_000)
    homes = copies(f"texts-{size}", lambda home: make_texts(home, size), linked=True)

    def find(server: AppServer) -> None:
        found = server.call("thread/search", searchTerm=RARE, limit=50)["data"]
        assert len(found) == 1, found

    with Pair.on(homes) as pair:
        deadline = time.monotonic() + 1800
        while time.monotonic() < deadline:  # the text index follows in the background
            with contextlib.suppress(AssertionError):
                find(pair.ours)
                break
            time.sleep(1)
        name = f"content search of a rare word in {size // 1_000_000:,} MB"
        yield pair.compare(name, find, 1 / 50, rounds=pick(5, 1))
    indexes = sum(path.stat().st_size for path in homes[0].glob("threadstore_text*"))
    yield line("size of the text index / text", indexes, size, goal=0.6, unit="bytes")


def starts(folder: str) -> Iterator[Result]:
    """From the start of the program to the first list."""
    threads = pick(100_000, 600)
    homes, nothing = _pile(threads, linked=True), empty_copies(folder)
    binary, rounds = codex_binary(CODEX), pick(7, 2)
    for name, (mine, theirs) in (
        (f"start to first list of {threads:,}", homes),
        ("start to first list of an empty home", nothing),
    ):
        figures = in_turn(
            lambda mine=mine: started(OURS, mine),  # type: ignore[misc]
            lambda theirs=theirs: started(binary, theirs),  # type: ignore[misc]
            best=median,
            rounds=rounds,
        )
        yield line(name, *figures, goal=None)
    full, empty = in_turn(
        lambda: started(OURS, homes[0]),
        lambda: started(OURS, nothing[0]),
        best=median,
        rounds=rounds,
    )
    name = f"second start on {threads:,}, over an empty home / 50 ms"
    yield line(name, max(full - empty, 0.0), 0.050, goal=1.0)


def first_index(folder: str) -> Iterator[Result]:
    """From the start of the program until its database knows every thread."""
    threads = pick(10_000, 300)
    homes, nothing = _pile(threads), empty_copies(folder)
    fresh = Path(folder) / "first-ours", Path(folder) / "first-theirs"
    for home, source in zip(fresh, homes, strict=True):
        shutil.copytree(source, home)

    def indexed(program: Path, home: Path, database: str) -> float:
        for path in home.iterdir():
            if path.name.startswith(DATABASES):
                path.unlink()
        shutil.rmtree(home / "db-backups", ignore_errors=True)

        def complete(server: AppServer) -> None:
            first_page(server, useStateDbOnly=True)
            while _rows(home / database) < threads * (home not in nothing):
                time.sleep(0.005)

        return started(program, home, complete)

    binary = codex_binary(CODEX)
    figures = in_turn(
        lambda: _above(indexed, OURS, fresh[0], nothing[0], "threadstore_1.sqlite"),
        lambda: _above(indexed, binary, fresh[1], nothing[1], "state_5.sqlite"),
        best=min,
        rounds=pick(3, 1),
    )
    yield line(f"first index of {threads:,}", *figures, goal=1 / 4)


def _above(
    indexed: Callable[[Path, Path, str], float], program: Path, home: Path, empty: Path, name: str
) -> float:
    return max(indexed(program, home, name) - indexed(program, empty, name), 1e-4)


def _rows(database: Path) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as found:
            return int(found.execute("SELECT count(*) FROM threads").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def changes(_folder: str) -> Iterator[Result]:
    """Small changes of cold threads."""
    threads = pick(10_000, 300)
    with Pair.on(_pile(threads)) as pair:
        ids = [thread["id"] for thread in first_page(pair.theirs)]

        def rename(server: AppServer) -> None:
            server.call("thread/name/set", threadId=ids[0], name="new name")

        def memory_mode(server: AppServer) -> None:
            server.call("thread/memoryMode/set", threadId=ids[1], mode="disabled")

        yield pair.compare("rename of a cold thread", rename, 1 / 3, rounds=pick(15, 2))
        yield pair.compare("memory mode of a cold thread", memory_mode, 1 / 3, rounds=pick(15, 2))


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [
    lists,
    changes,
    starts,
    first_index,
    search,
]
