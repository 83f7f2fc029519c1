"""The page in the documentation that tells of the last run."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, Self

import msgspec

from benchmarks.measure import Result

__all__ = ["Run", "write"]

_TEXT = """\
# Benchmarks

Made by `make bench` (`python -m benchmarks --write docs/benchmarks.md`); do not edit. Every line is
a ratio of two figures of one run, measured in turn on one machine: *ours* beside the machine's own
limit, the real Codex, or another library that keeps conversations. Absolute numbers are those of
that machine; the ratio is what carries over. *Not told apart*: short of its goal, but by less than
the rounds of the run differ among themselves.

Last run: {machine}.

"""


class Run(msgspec.Struct):
    """What was measured, where."""

    machine: str
    groups: dict[str, list[Result]] = msgspec.field(default_factory=dict)

    @classmethod
    def here(cls, *, quick: bool) -> Self:
        """A run on this machine, now."""
        today = dt.datetime.now(dt.timezone.utc).date().isoformat()  # noqa: UP017
        size = ", quick: sizes too small to judge by" if quick else ""
        return cls(
            f"{today}, {_commit()}, {_processor()}, {os.cpu_count()} cores,"
            f" {platform.system()}, Python {platform.python_version()}{size}"
        )

    def add(self, group: str, result: Result) -> None:
        """Take in one line."""
        self.groups.setdefault(group, []).append(result)


def write(path: Path, run: Run) -> None:
    """Write the page."""
    parts = [_TEXT.format(machine=run.machine)]
    for title, results in run.groups.items():
        rows = [("what", "ours", "beside", "ratio", "goal", ""), ("---", *["---:"] * 4, "---")]
        rows += [result.cells() for result in results]
        table = "\n".join("| " + " | ".join(_plain(cell) for cell in row) + " |" for row in rows)
        parts.append(f"## {title}\n\n{table}\n\n")
    path.write_text("".join(parts).rstrip() + "\n", encoding="utf-8")


def _plain(cell: Any) -> str:
    return str(cell).replace("|", "\\|")


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
