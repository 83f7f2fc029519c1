"""What the tests found out, a cell each, for the compatibility page.

A test says what it has just seen, after its assertions: ``cells.works("ours", "renamed")``. What a
test says counts only if it passes. ``results/VERSION.json`` keeps the cells of each release; a run
that finds something else fails until they are recorded anew (``make compatibility``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import pytest
    from tests.codex.releases import Release

Table = Literal["ours", "theirs", "together", "damaged"]
"""``ours``: what Codex does with what threadstore wrote; ``theirs``: what threadstore does with
what Codex wrote; ``together``: both on one home at once; ``damaged``: old and damaged homes."""

TABLES: tuple[Table, ...] = get_args(Table)
RESULTS = Path(__file__).parent / "results"
PROPERTY = "compatibility"

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
        self._properties.append((PROPERTY, [self._release, table, row, cell]))


def load() -> Results:
    """Everything that was recorded, oldest release first."""
    paths = sorted(RESULTS.glob("*.json"), key=lambda path: [*map(int, path.stem.split("."))])
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def collect(results: Results, properties: list[tuple[str, Any]]) -> None:
    """Add what one passed test said."""
    for name, value in properties:
        if name == PROPERTY:
            release, table, row, cell = value
            known = results.setdefault(release, {}).setdefault(table, {})
            if known.get(row, cell) != cell:
                cell = ["contradiction", f"{known[row]} and {cell}"]
            known[row] = cell


def news(found: Results, *, complete: bool) -> list[str]:
    """Where *found* is not what was recorded; *complete*: rows that were not found count, too."""
    recorded, lines = load(), []
    for release, tables in found.items():
        for table in TABLES:
            new, old = tables.get(table, {}), recorded.get(release, {}).get(table, {})
            rows = {**old, **new} if complete else new
            lines += [
                f"{release} {table} {row!r}: {old.get(row)} is recorded, {new.get(row)} was found"
                for row in rows
                if old.get(row) != new.get(row)
            ]
    return lines


def record(found: Results) -> None:
    """Replace what was recorded about the releases in *found*."""
    RESULTS.mkdir(exist_ok=True)
    for release, tables in found.items():
        ordered = {table: tables[table] for table in TABLES if table in tables}
        text = json.dumps(ordered, indent=1, ensure_ascii=False)
        RESULTS.joinpath(f"{release}.json").write_text(text + "\n", encoding="utf-8")
