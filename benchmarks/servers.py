"""Our app server and the real one, asked the same in turn."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.codex.app_server import AppServer
from tests.codex.install import codex_binary

from benchmarks.measure import Result, in_turn, median, seconds

__all__ = ["CODEX", "OURS", "Pair", "codex_binary", "first_page", "line", "peak", "started"]

CODEX: Final = "0.169.0"
OURS: Final = Path(sys.executable).with_name("threadstore")
_PATIENCE: Final = 900.0


class Pair:
    """Both servers, on homes of their own."""

    def __init__(self, ours: AppServer, theirs: AppServer) -> None:
        self.ours = ours
        self.theirs = theirs

    @classmethod
    @contextmanager
    def on(cls, homes: tuple[Path, Path]) -> Iterator[Pair]:
        """Start both."""
        with (
            AppServer(OURS, homes[0], homes[0], patience=_PATIENCE) as ours,
            AppServer(codex_binary(CODEX), homes[1], homes[1], patience=_PATIENCE) as theirs,
        ):
            yield cls(ours, theirs)

    def compare(
        self,
        name: str,
        ask: Callable[[AppServer], object],
        goal: float | None,
        *,
        of_theirs: Callable[[AppServer], object] | None = None,
        rounds: int = 9,
    ) -> Result:
        """The median time of *ask* on both; Codex does *of_theirs* if that is given."""
        other = of_theirs or ask
        figures = in_turn(
            lambda: seconds(lambda: ask(self.ours)),
            lambda: seconds(lambda: other(self.theirs)),
            best=median,
            rounds=rounds,
        )
        return line(name, *figures, goal=goal)


def line(name: str, ours: float, theirs: float, *, goal: float | None, unit: str = "s") -> Result:
    """One line beside Codex."""
    return Result(name=name, ours=ours, limit=theirs, unit=unit, goal=goal, higher_is_better=False)


def first_page(server: AppServer, **params: Any) -> list[dict[str, Any]]:
    """The first 50 threads."""
    data: list[dict[str, Any]] = server.call("thread/list", limit=50, modelProviders=[], **params)[
        "data"
    ]
    return data


def started(program: Path, home: Path, ask: Callable[[AppServer], object] = first_page) -> float:
    """Seconds from the start of a server to its answer to *ask*."""
    start = time.perf_counter()
    with AppServer(program, home, home, patience=_PATIENCE) as server:
        ask(server)
        return time.perf_counter() - start


def peak(server: AppServer) -> float:
    """The most memory that the server and its children have had, in bytes."""
    pids = [server.pid]
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        pids += [int(child) for child in children.split()]
    total = 0
    for pid in pids:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        total += int(found[1]) * 1024 if found else 0
    return float(total)
