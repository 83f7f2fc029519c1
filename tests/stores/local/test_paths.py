"""Names and places of rollout files."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from threadstore.errors import InvalidRequest
from threadstore.stores.local import paths
from threadstore.stores.local.paths import Home

THREAD = "01a201e7-f15d-79e1-86d6-5fdbf3cf805c"
REVERT = "01a201e7-f542-78c0-99a8-dee6f83b3612"
NAME = f"rollout-2026-11-22T06-18-27-{THREAD}.jsonl"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(home=str(tmp_path), sqlite_home=str(tmp_path))


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def put(path: str, content: str = "{}\n") -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(content)
    return path


@pytest.mark.parametrize(
    ("name", "compressed"),
    [
        (NAME, False),
        (NAME + ".zst", True),
        (NAME.replace(THREAD, THREAD.upper()), False),
        (NAME.replace(THREAD, THREAD.replace("-", "")), False),
    ],
)
def test_a_name_says_id_time_and_compression(name: str, compressed: bool) -> None:
    parsed = paths.parse_rollout_name(name)
    assert parsed is not None
    assert (parsed.thread_id, parsed.rollout_id) == (THREAD, THREAD)
    assert parsed.stamp == dt.datetime(2026, 11, 22, 6, 18, 27)  # noqa: DTZ001
    assert parsed.compressed is compressed


def test_the_segment_of_a_revert_has_an_id_of_its_own() -> None:
    moment = dt.datetime(2026, 11, 22, 6, 18, 28)  # noqa: DTZ001
    name = paths.rollout_file_name(moment, THREAD, REVERT)
    assert name == f"rollout-2026-11-22T06-18-28-{THREAD}_{REVERT}.jsonl"
    parsed = paths.parse_rollout_name(name)
    assert parsed is not None
    assert (parsed.thread_id, parsed.rollout_id) == (THREAD, REVERT)


@pytest.mark.parametrize("stamp", ["2026-13-40T99-99-99", "whenever", "٢٠٢٦-11-22T06-18-27"])
def test_an_unreadable_time_leaves_the_id(stamp: str) -> None:
    parsed = paths.parse_rollout_name(f"rollout-{stamp}-{THREAD}.jsonl")
    assert parsed is not None
    assert parsed.thread_id == THREAD
    assert parsed.stamp is None


@pytest.mark.parametrize(
    "name",
    [
        "rollout-foo.jsonl",
        f"rollout-2026-11-22T06-18-27-{THREAD}.jsonl.zst.compress.1.0.tmp",
        f"rollout-2026-11-22T06-18-27-{THREAD}.json",
        f"2026-11-22T06-18-27-{THREAD}.jsonl",
        "",
    ],
)
def test_other_names_hold_no_id(name: str) -> None:
    assert paths.parse_rollout_name(name) is None


@pytest.mark.usefixtures("new_york")
def test_a_new_rollout_lies_under_its_local_date(home: Home) -> None:
    created_at = dt.datetime(2026, 11, 22, 3, 4, 5, tzinfo=dt.UTC)
    path = paths.new_rollout_path(home, created_at, THREAD)
    assert path == f"{home.sessions}/2026/11/21/rollout-2026-11-21T22-04-05-{THREAD}.jsonl"


def test_archiving_and_back_keeps_the_name_and_finds_the_date(home: Home) -> None:
    active = f"{home.sessions}/2026/11/22/{NAME}"
    for suffix in ("", ".zst"):
        archived = paths.archived_path(home, active + suffix)
        assert archived == f"{home.archived}/{NAME}{suffix}"
        assert paths.active_path(home, archived) == active + suffix


def test_a_name_without_a_time_cannot_be_unarchived(home: Home) -> None:
    with pytest.raises(InvalidRequest, match="holds no time"):
        paths.active_path(home, f"{home.archived}/rollout-foo.jsonl")


def test_scan_finds_every_rollout_in_both_roots_at_any_depth(home: Home) -> None:
    dated = put(f"{home.sessions}/2026/11/22/{NAME}", "12345")
    odd = put(f"{home.sessions}/copied from laptop/rollout-foo.jsonl")
    bare = put(f"{home.sessions}/{NAME}")
    archived = put(f"{home.archived}/{NAME}.zst")
    put(f"{home.sessions}/2026/11/22/notes.jsonl")
    put(f"{home.sessions}/2026/11/22/{NAME}.zst.compress.1.0.tmp")
    os.makedirs(f"{home.sessions}/rollout-folder.jsonl")
    os.mkfifo(f"{home.sessions}/rollout-pipe.jsonl")

    found = {file.actual_path: file for file in paths.scan(home)}

    assert set(found) == {dated, odd, bare, archived}
    assert found[odd].name is None
    assert found[dated].size == 5
    assert found[dated].inode == os.stat(dated).st_ino
    assert [file.archived for file in found.values()].count(True) == 1
    assert found[archived].path == f"{home.archived}/{NAME}"


def test_a_compressed_file_beside_its_plain_form_is_hidden(home: Home) -> None:
    plain = put(f"{home.sessions}/2026/11/22/{NAME}")
    put(plain + ".zst")
    assert [file.actual_path for file in paths.scan(home)] == [plain]
    assert paths.existing_path(plain + ".zst") == plain
    os.unlink(plain)
    assert [file.actual_path for file in paths.scan(home)] == [plain + ".zst"]
    assert paths.existing_path(plain) == plain + ".zst"
    os.unlink(plain + ".zst")
    assert paths.existing_path(plain) is None
    assert paths.stat_rollout(home, plain) is None


def test_a_home_without_sessions_is_empty_and_a_broken_one_is_reported(home: Home) -> None:
    trouble: list[str] = []
    assert list(paths.scan(home, lambda folder, _error: trouble.append(folder))) == []
    assert trouble == []
    put(home.sessions, "a file")
    assert list(paths.scan(home, lambda folder, _error: trouble.append(folder))) == []
    assert trouble == [home.sessions]


def test_all_files_of_a_thread_are_found_active_ones_first(home: Home) -> None:
    archived = put(f"{home.archived}/{NAME}")
    later = put(f"{home.sessions}/2026/11/23/rollout-2026-11-23T00-00-00-{THREAD}_{REVERT}.jsonl")
    first = put(f"{home.sessions}/2026/11/22/{NAME.replace(THREAD, THREAD.upper())}")
    put(f"{home.sessions}/2026/11/22/{NAME.replace(THREAD, REVERT)}")

    assert [file.path for file in paths.find_by_id(home, THREAD)] == [first, later, archived]


def test_a_rollout_is_found_by_its_own_id(home: Home) -> None:
    put(f"{home.sessions}/2026/11/22/{NAME}")
    later = put(f"{home.sessions}/2026/11/23/rollout-2026-11-23T00-00-00-{THREAD}_{REVERT}.jsonl")
    assert paths.find_rollout(home, REVERT) == later
    assert paths.find_rollout(home, "01a201e7-0000-7000-8000-000000000000") is None


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_what_we_create_is_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(mask)
    try:
        made = paths.make_folders(f"{tmp_path}/a/b")
        os.close(paths.open_private(f"{tmp_path}/a/b/file", os.O_RDWR))
    finally:
        os.umask(before)
    assert made == [f"{tmp_path}/a", f"{tmp_path}/a/b"]
    assert [os.stat(folder).st_mode & 0o777 for folder in made] == [0o700, 0o700]
    assert os.stat(f"{tmp_path}/a/b/file").st_mode & 0o777 == 0o600
    assert os.stat(tmp_path).st_mode & 0o777 == 0o755
    assert paths.make_folders(f"{tmp_path}/a/b") == []


def test_opening_an_existing_file_leaves_its_mode(tmp_path: Path) -> None:
    path = put(f"{tmp_path}/file")
    os.chmod(path, 0o644)
    os.close(paths.open_private(path, os.O_RDWR))
    assert os.stat(path).st_mode & 0o777 == 0o644


def test_trouble_of_the_system_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError) as caught:
        os.open(put(f"{tmp_path}/file") + "/child", os.O_RDONLY)
    error = paths.unavailable(caught.value, "cannot read it")
    assert str(error) == "cannot read it: Not a directory"
    assert error.hint == "a file stands where a folder is needed"
