"""``threadstore doctor`` and ``tour``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.cli.conftest import Home, Run
from tests.cli.test_export import rollout


def content(folder: Path) -> dict[str, bytes]:
    """Every file below *folder*, without our own list index and what SQLite shares in memory."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.glob("**/*")
        if path.is_file() and not path.name.startswith("threadstore_1.sqlite")
        if not path.name.endswith("-shm")
    }


def test_a_sound_home_gives_zero(cli: Run, home: Home) -> None:
    cli("delete", home.empty, "--yes")  # a thread that Codex does not know
    result = cli("doctor")
    assert (result.code, result.out) == (0, "")
    assert cli("doctor", "--json").json == {"data": [], "nextCursor": None}


def test_a_damaged_line_is_reported_with_its_reason_and_code_five(cli: Run, home: Home) -> None:
    path = rollout(home, home.plain)
    with path.open("ab") as file:
        file.write(b"not json\n")
    result = cli("doctor")
    assert result.code == 5
    (row,) = [row for row in result.rows if row[1] == "damaged_line"]
    assert len(row) == 7
    assert home.plain in row[2]
    assert row[3]


def test_json_findings_name_the_thread(cli: Run, home: Home) -> None:
    with rollout(home, home.plain).open("ab") as file:
        file.write(b"not json\n")
    result = cli("doctor", "--json")
    assert result.code == 5
    (finding,) = [f for f in result.json["data"] if f["code"] == "damaged_line"]
    assert list(finding) == [
        "code", "severity", "subject", "reason", "threadId", "fix", "fixed", "repairable"
    ]  # fmt: skip
    assert finding["threadId"] == home.plain


def test_looking_changes_no_file(cli: Run, home: Home) -> None:
    with rollout(home, home.plain).open("ab") as file:
        file.write(b"not json")
    before = content(home.path)
    assert cli("doctor").code == 5
    assert content(home.path) == before


def test_remarks_are_printed_and_give_zero(cli: Run) -> None:
    result = cli("doctor")
    assert [row[:2] for row in result.rows] == [["info", "unindexed"]]
    assert result.code == 0
    assert cli("doctor", "--json").code == 0


def test_fix_adds_what_is_missing_and_says_so(cli: Run, home: Home) -> None:
    (row,) = cli("doctor").rows
    assert row[1] == "unindexed"
    assert row[4:] == ["add the row", "", ""]
    fixed = cli("doctor", "--fix")
    assert fixed.rows[0][4:] == ["add the row", "fixed", ""]
    assert cli("doctor").out == ""


def test_what_was_fixed_still_gives_five(cli: Run, home: Home) -> None:
    with rollout(home, home.plain).open("ab") as file:
        file.truncate(rollout(home, home.plain).stat().st_size - 1)
    fixed = cli("doctor", "--fix")
    assert ["warning", "fixed"] in [[row[0], row[5]] for row in fixed.rows]
    assert fixed.code == 5
    assert cli("doctor").code == 0


def test_tour_shows_the_threads_of_the_user(cli: Run, home: Home, tmp_path: Path) -> None:
    example = tmp_path / "example"
    result = cli("tour", "--home", str(example))
    assert result.code == 0
    assert [row[0] for row in result.rows] == [home.parent, home.exec, home.plain, home.named]
    assert not example.exists()


def test_tour_records_an_example_where_there_are_no_threads(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "none"))
    example = tmp_path / "example"
    for _ in range(2):  # the second time it is there already
        result = cli("tour", "--home", str(example))
        assert result.code == 0
        assert "An example conversation" in result.out
        assert "Show me that it is really there." in result.out
        assert "$ ls sessions" in result.out
    assert len(cli("list", "--store", f"local:{example}", "--all").rows) == 1
    assert not os.path.exists(tmp_path / "none")


def test_tour_refuses_a_home_that_is_a_file(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "none"))
    (tmp_path / "file").touch()
    assert cli("tour", "--home", str(tmp_path / "file")).code == 2
