"""What the tests found out, a cell each, for the compatibility page.

A test says what it has just seen, after its assertions: ``cells.works("ours", "renamed")``. What a
test says counts only if it passes. ``results/VERSION.json`` keeps the cells of each release; a run
that finds something else fails until they are recorded anew (``make compatibility``).
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import datetime as dt

    import pytest
    from tests.codex.releases import Release

Table = Literal["ours", "theirs", "together", "damaged"]
"""``ours``: what Codex does with what threadstore wrote; ``theirs``: what threadstore does with
what Codex wrote; ``together``: both on one home at once; ``damaged``: old and damaged homes."""

TABLES: tuple[Table, ...] = get_args(Table)
RESULTS = Path(__file__).parent / "results"
PROPERTY = "compatibility"
CONTRADICTION = "contradiction"

Results = dict[str, dict[str, dict[str, list[str]]]]
"""By release, table and row: the word and, unless it works, how or why."""


class Cells:
    """The cells of one release, for the test that holds them."""

    def __init__(self, request: pytest.FixtureRequest, release: Release) -> None:
        self._properties: list[tuple[str, Any]] = request.node.user_properties
        self._release = str(release)

    def works(self, table: Table, row: str) -> None:
        """Everything about *row* is as it should be."""
        self._add(table, row, ["works"])

    def differs(self, table: Table, row: str, how: str) -> None:
        """It works, but for what *how* says (asserted by the test, too)."""
        self._add(table, row, ["differs", how])

    def unsupported(self, table: Table, row: str, why: str) -> None:
        """The release, or we, cannot do it (asserted by the test, too)."""
        self._add(table, row, ["not supported", why])

    def _add(self, table: Table, row: str, cell: list[str]) -> None:
        assert table in TABLES, table
        assert "|" not in row + cell[-1], "the page is made of tables"
        assert row == row.strip() != "", "a row has a name"
        self._properties.append((PROPERTY, [self._release, table, row, cell]))


def load() -> Results:
    """Everything that was recorded, oldest release first."""
    return {
        release: {table: cells for table, cells in file.items() if table in TABLES}
        for release, file in _files().items()
    }


def circumstances() -> dict[str, tuple[str, str]]:
    """The day (ISO 8601) on which each release was recorded, and the system it ran on."""
    return {release: (file["day"], file["system"]) for release, file in _files().items()}


def _files() -> dict[str, Any]:
    paths = sorted(RESULTS.glob("*.json"), key=lambda path: [*map(int, path.stem.split("."))])
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def collect(results: Results, properties: list[tuple[str, Any]]) -> None:
    """Add what one passed test said. Two tests that say different things contradict each other."""
    for name, value in properties:
        if name == PROPERTY:
            release, table, row, cell = value
            known = results.setdefault(release, {}).setdefault(table, {})
            if known.get(row, cell) != cell:
                cell = [CONTRADICTION, f"{known[row]} and {cell}"]
            known[row] = cell


def contradictions(found: Results) -> list[str]:
    """What must never be recorded: rows about which two tests say different things."""
    return [
        f"{release} {table} {row!r}: {cell[1]}"
        for release, tables in found.items()
        for table, cells in tables.items()
        for row, cell in cells.items()
        if cell[0] == CONTRADICTION
    ]


def news(found: Results, *, complete: bool) -> list[str]:
    """Where *found* is not what was recorded; *complete*: rows that were not found count, too.

    A release of which nothing was ever recorded has nothing to be compared with.
    """
    recorded, lines = load(), []
    for release in found.keys() & recorded.keys():
        for table in TABLES:
            new, old = found[release].get(table, {}), recorded[release].get(table, {})
            rows = {**old, **new} if complete else new
            lines += [
                f"{release} {table} {row!r}: {old.get(row)} is recorded, {new.get(row)} was found"
                for row in rows
                if old.get(row) != new.get(row)
            ]
    return sorted(lines)


def record(found: Results, *, complete: bool, day: dt.date) -> None:
    """Keep what was found; *complete*: instead of what was recorded about these releases."""
    RESULTS.mkdir(exist_ok=True)
    recorded = {} if complete else load()
    for release, tables in found.items():
        old = recorded.get(release, {})
        file: dict[str, Any] = {
            "day": day.isoformat(),
            "system": f"{platform.system()} {platform.machine()}",
        }
        for table in TABLES:
            if merged := old.get(table, {}) | tables.get(table, {}):
                file[table] = dict(sorted(merged.items()))
        text = json.dumps(file, indent=1, ensure_ascii=False)
        RESULTS.joinpath(f"{release}.json").write_text(text + "\n", encoding="utf-8")
