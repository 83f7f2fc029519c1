"""The compatibility page and the cells that it is made of. No binary is needed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.codex import cells
from tools.compatibility_page import PAGE, page

if TYPE_CHECKING:
    from tests.codex.cells import Results

DAY = dt.date(2026, 1, 2)
FOUND: Results = {"0.131.0": {"ours": {"named": ["works"], "forked": ["differs", "how"]}}}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results of its own."""
    monkeypatch.setattr(cells, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def said(row: str, *cell: str) -> list[tuple[str, object]]:
    return [(cells.PROPERTY, ["0.131.0", "ours", row, [*cell]])]


def test_the_committed_page_is_made_of_the_committed_results() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(cells.load(), cells.circumstances())


def test_what_was_recorded_are_words_of_the_page_and_no_contradictions() -> None:
    recorded = cells.load()
    assert cells.contradictions(recorded) == []
    for tables in recorded.values():
        for cell in (cell for rows in tables.values() for cell in rows.values()):
            assert cell == ["works"] or (
                len(cell) == 2 and cell[0] in ("differs", "not supported") and cell[1].strip()
            )


def test_a_cell_shows_its_word_and_equal_notes_share_a_number() -> None:
    found: Results = {
        "0.131.0": {"ours": {"a": ["works"], "b": ["differs", "so"]}},
        "0.169.0": {"ours": {"b": ["not supported", "so"], "c": ["differs", "otherwise"]}},
    }
    text = page(found, {"0.131.0": ("2026-01-02", "Linux"), "0.169.0": ("2026-01-02", "Linux")})
    assert "| a | works | not tried |" in text
    assert "| b | differs (1) | not supported (1) |" in text
    assert "| c | not tried | differs (2) |" in text
    assert "\n\n1. so\n2. otherwise\n" in text
    assert "Recorded: 0.131.0 and 0.169.0 on 2026-01-02 (Linux)." in text


def test_two_tests_that_say_different_things_contradict_each_other() -> None:
    found: Results = {}
    cells.collect(found, [*said("named", "works"), *said("named", "works"), ("other", 1)])
    assert cells.contradictions(found) == []
    cells.collect(found, said("named", "differs", "how"))
    assert cells.contradictions(found) == ["0.131.0 ours 'named': ['works'] and ['differs', 'how']"]


@pytest.mark.usefixtures("results")
def test_a_changed_a_new_and_a_missing_cell_are_news() -> None:
    cells.record(FOUND, complete=True, day=DAY)
    assert cells.news(FOUND, complete=True) == []
    found: Results = {"0.131.0": {"ours": {"named": ["differs", "how"], "new": ["works"]}}}
    changed = ["named", "new"]
    assert [line.split("'")[1] for line in cells.news(found, complete=False)] == changed
    missing = ["forked", *changed]
    assert [line.split("'")[1] for line in cells.news(found, complete=True)] == missing


@pytest.mark.usefixtures("results")
def test_a_release_that_was_never_recorded_has_no_news() -> None:
    assert cells.news(FOUND, complete=True) == []


@pytest.mark.usefixtures("results")
def test_a_part_of_the_suite_replaces_its_own_cells_the_whole_suite_all() -> None:
    cells.record(FOUND, complete=True, day=DAY)
    part: Results = {"0.131.0": {"ours": {"named": ["not supported", "why"]}}}
    cells.record(part, complete=False, day=DAY)
    merged = FOUND["0.131.0"]["ours"] | part["0.131.0"]["ours"]
    assert cells.load() == {"0.131.0": {"ours": merged}}
    cells.record(part, complete=True, day=DAY)
    assert cells.load() == part
    assert cells.circumstances()["0.131.0"][0] == "2026-01-02"


SUITE = """
import os
import pytest

@pytest.mark.parametrize("row", ["named", "forked"])
def test_it(cells, row):
    cells.works("ours", row)
    if row == os.environ.get("CONTRADICTED"):
        cells.unsupported("ours", row, "why")
    assert row != os.environ.get("FAILED")
"""


@pytest.fixture
def suite(
    pytester: pytest.Pytester, results: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """A suite with two cells, with the machinery of the real one."""
    monkeypatch.setenv("RELEASES", "0.131.0")
    monkeypatch.delenv("RECORD", raising=False)
    machinery = Path(cells.__file__).with_name("conftest.py")  # a copy, which finds for itself
    pytester.makeconftest(machinery.read_text(encoding="utf-8"))
    pytester.mkdir("tests").joinpath("codex").mkdir()
    pytester.path.joinpath("tests/codex/test_suite.py").write_text(SUITE)
    return pytester


def run(suite: pytest.Pytester, *arguments: str) -> pytest.ExitCode | int:
    scope = "asyncio_default_fixture_loop_scope=function"
    options = ("-p", "no:cacheprovider", "-o", scope, *arguments)
    return suite.runpytest_inprocess("tests/codex", *options).ret


def test_a_run_fails_until_what_it_finds_is_recorded(
    suite: pytest.Pytester, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORD", "1")
    monkeypatch.setenv("FAILED", "forked")
    assert run(suite) == pytest.ExitCode.TESTS_FAILED
    assert not results.exists()
    monkeypatch.setenv("FAILED", "")
    assert run(suite) == pytest.ExitCode.OK
    assert cells.load() == {"0.131.0": {"ours": {"forked": ["works"], "named": ["works"]}}}
    monkeypatch.delenv("RECORD")
    assert run(suite) == pytest.ExitCode.OK

    cells.record(FOUND, complete=True, day=DAY)
    assert run(suite) == pytest.ExitCode.TESTS_FAILED
    assert run(suite, "-k", "named") == pytest.ExitCode.OK
    one: Results = {"0.131.0": {"ours": {"named": ["works"], "lost": ["works"]}}}
    cells.record(one, complete=True, day=DAY)
    assert run(suite, "-k", "named") == pytest.ExitCode.OK
    assert run(suite) == pytest.ExitCode.TESTS_FAILED


def test_a_contradiction_is_never_recorded(
    suite: pytest.Pytester, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECORD", "1")
    monkeypatch.setenv("CONTRADICTED", "named")
    assert run(suite) == pytest.ExitCode.TESTS_FAILED
    assert not results.exists()
