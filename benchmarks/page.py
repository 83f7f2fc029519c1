"""The page in the documentation that tells of the last run."""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from benchmarks.measure import Result
from benchmarks.sizes import CACHE

__all__ = ["Run", "write"]

_TEXT = """\
# Benchmarks

Made by `make bench` (`python -m benchmarks --write docs/benchmarks.md`); do not edit. Every line is
a ratio of two figures of one run, measured in turn on one machine: *ours* beside the machine's own
limit, the real Codex, or another library that keeps conversations. Absolute numbers are those of
that machine; the ratio is what carries over. *Not told apart*: short of its goal, but by less than
the rounds of the run differ among themselves. A line without a goal is only told.

`python -m benchmarks append list` runs only what has one of the words in its name (and leaves the
rest of the page as it is), `--quick` runs everything in sizes that say nothing about speed. The
homes, and the other libraries in an environment of their own, are kept in `.cache/bench`; the real
Codex is installed from npm into `.cache/codex`.
"""
_KEPT: Final = CACHE / "results.json"


class Section(msgspec.Struct):
    """The last results of one group."""

    machine: str
    rows: list[list[str]]


class Run(msgspec.Struct):
    """What was measured, where."""

    machine: str
    quick: bool
    groups: dict[str, list[Result]] = msgspec.field(default_factory=dict)

    @classmethod
    def here(cls, *, quick: bool) -> Self:
        """A run on this machine, now."""
        today = dt.datetime.now(dt.timezone.utc).date().isoformat()  # noqa: UP017
        load = os.getloadavg()[0]
        size = ", quick: sizes too small to judge by" if quick else ""
        return cls(
            f"{today}, {_commit()}, {_processor()}, {os.cpu_count()} cores,"
            f" {platform.system()}, Python {platform.python_version()}, load {load:.0f}{size}",
            quick,
        )

    def add(self, group: str, result: Result) -> None:
        """Take in one line."""
        self.groups.setdefault(group, []).append(result)


def write(path: Path, run: Run, order: Sequence[str]) -> None:
    """Write the page: the groups of *run*, and of the others what was measured last."""
    sections = _kept()
    for title, results in run.groups.items():
        sections[title] = Section(run.machine, [list(result.cells()) for result in results])
    if not run.quick:
        _KEPT.parent.mkdir(parents=True, exist_ok=True)
        _KEPT.write_bytes(msgspec.json.encode(sections))
    parts = [_TEXT]
    for title in sorted(sections, key=lambda title: order.index(title) if title in order else 99):
        section = sections[title]
        rows = [["what", "ours", "beside", "ratio", "goal", ""], ["---", *["---:"] * 4, "---"]]
        table = "\n".join(
            "| " + " | ".join(map(_plain, row)) + " |" for row in (*rows, *section.rows)
        )
        parts.append(f"\n## {title}\n\n{section.machine}.\n\n{table}\n")
    path.write_text("".join(parts), encoding="utf-8")


def _kept() -> dict[str, Section]:
    try:
        return msgspec.json.decode(_KEPT.read_bytes(), type=dict[str, Section])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


def _plain(cell: str) -> str:
    return cell.replace("|", "\\|")


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
