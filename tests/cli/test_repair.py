"""``threadstore repair``."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Home, Run
from tests.cli.test_export import rollout

from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.paths import Home as LocalHome


@pytest.fixture
def damaged(home: Home) -> Path:
    """The log of the plain thread, with a bad byte in its second line."""
    path = rollout(home, home.plain)
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'":"', b'":"\xff', 1)
    path.write_bytes(b"\n".join(lines))
    return path


def test_a_copy_is_written_and_nothing_else_is_touched(
    cli: Run, home: Home, damaged: Path, tmp_path: Path
) -> None:
    log, target = damaged.read_bytes(), tmp_path / "repaired.jsonl"
    result = cli("repair", home.plain, "--output", str(target))
    assert (result.code, result.rows) == (0, [["2", "bytes that are not UTF-8 replaced"]])
    assert str(target) in result.err
    assert target.read_bytes() == log.replace(b"\xff", "\ufffd".encode())
    assert damaged.read_bytes() == log
    assert list(damaged.parent.glob("*.original")) == []


def test_in_place_keeps_the_original_and_says_where(cli: Run, home: Home, damaged: Path) -> None:
    log = damaged.read_bytes()
    (found,) = [row for row in cli("doctor").rows if row[1] == "invalid_utf8"]
    assert found[6] == f"threadstore repair {home.plain} --in-place"
    assert cli(*found[6].split()[1:], "--json").json == {
        "threadId": home.plain,
        "changes": [{"line": 2, "change": "bytes that are not UTF-8 replaced"}],
        "output": None,
        "original": f"{damaged}.original",
    }
    assert Path(f"{damaged}.original").read_bytes() == log
    assert "invalid_utf8" not in cli("doctor").out
    again = cli("repair", home.plain, "--in-place")
    assert (again.code, again.out) == (0, "")
    assert "no line has to be changed" in again.err


@pytest.mark.parametrize("words", [[], ["--in-place", "--output", "x.jsonl"]])
def test_exactly_one_place_has_to_be_named(cli: Run, home: Home, words: list[str]) -> None:
    result = cli("repair", home.plain, *words)
    assert result.code == 2
    assert "either --output FILE or --in-place" in result.err


def test_a_file_that_exists_is_refused(cli: Run, home: Home, tmp_path: Path) -> None:
    target = tmp_path / "there.jsonl"
    target.write_bytes(b"mine")
    assert cli("repair", home.plain, "--output", str(target)).code == 2
    assert target.read_bytes() == b"mine"


def test_a_thread_that_somebody_writes_is_a_conflict(cli: Run, home: Home, damaged: Path) -> None:
    log = damaged.read_bytes()
    folder = LocalHome(home=str(home.path), sqlite_home=str(home.path))
    with WriterLock.acquire(folder, home.plain):
        assert cli("repair", home.plain, "--in-place").code == 3
    assert damaged.read_bytes() == log


def test_an_unreadable_thread_leaves_no_file_behind(cli: Run, home: Home, tmp_path: Path) -> None:
    rollout(home, home.plain).write_bytes(b"{\n")
    target = tmp_path / "repaired.jsonl"
    assert cli("repair", home.plain, "--output", str(target)).code == 2
    assert not target.exists()
