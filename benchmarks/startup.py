"""Starting: the command line and the import, beside a bare interpreter."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.measure import Result, in_turn, median, seconds
from benchmarks.piles import copies, make_pile
from benchmarks.sizes import pick


def _run(*command: str) -> Callable[[], float]:
    return lambda: seconds(
        lambda: subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    )


_SCRIPT: Final = os.path.join(os.path.dirname(sys.executable), "threadstore")
_PASS: Final = _run(sys.executable, "-c", "pass")


def help_text(_folder: str) -> Iterator[Result]:
    """``threadstore --help``."""
    ours, limit = in_turn(_run(_SCRIPT, "--help"), _PASS, best=min, rounds=15)
    yield Result(
        name="threadstore --help / python -c pass",
        ours=ours,
        limit=limit,
        unit="s",
        goal=3.0,
        higher_is_better=False,
    )


def import_package(_folder: str) -> Iterator[Result]:
    """``import threadstore``, above the bare interpreter."""
    ours, limit = in_turn(
        _run(sys.executable, "-c", "import threadstore"), _PASS, best=min, rounds=15
    )
    yield Result(
        name="import threadstore - python -c pass / 60 ms",
        ours=max(ours - limit, 0.0),
        limit=0.060,
        unit="s",
        goal=1.0,
        higher_is_better=False,
    )


def list_threads(_folder: str) -> Iterator[Result]:
    """``threadstore list`` of 100,000 threads by a new process, above the bare interpreter."""
    threads = pick(100_000, 600)
    home, _ = copies(
        f"pile-{threads}", lambda home: make_pile(home, threads), linked=threads >= 100_000
    )
    command = _run(_SCRIPT, "--store", f"local:{home}", "list", "--limit", "50")

    def alone() -> float:
        _forget_looks(home)
        return command()

    for name, ask in (("", command), (", the first in 10 s", alone)):
        ours, limit = in_turn(ask, _PASS, best=median, rounds=pick(15, 3))
        yield Result(
            name=f"threadstore list of {threads:,}{name} - python -c pass / 100 ms",
            ours=max(ours - limit, 0.0),
            limit=0.100,
            unit="s",
            goal=1.0,
            higher_is_better=False,
        )


def _forget_looks(home: Path) -> None:
    """Have the next process check some old files, as processes in succession do once in 10 s."""
    with contextlib.closing(sqlite3.connect(home / "threadstore_1.sqlite")) as index, index:
        index.execute("DELETE FROM meta WHERE key = 'looked_down_at'")


BENCHES: Final[list[Callable[[str], Iterator[Result]]]] = [help_text, import_package, list_threads]
