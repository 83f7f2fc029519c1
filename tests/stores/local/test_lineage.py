"""Histories that stand on other histories: forks and reverts of paginated threads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.stores.local import lineage, paths, reader
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.paths import Home

ROOT = "01a201e7-0000-7000-8000-000000000001"
FORK = "01a201e7-0000-7000-8000-000000000002"
DEEP = "01a201e7-0000-7000-8000-000000000003"
REVERT = "01a201e7-0000-7000-8000-000000000004"


class Rollouts:
    """Writes paginated rollouts into a home and reads them back."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(home=str(folder), sqlite_home=str(folder))
        os.makedirs(self.home.sessions)

    def path(self, thread_id: str, rollout_id: str | None = None, second: int = 0) -> str:
        suffix = f"_{rollout_id}" if rollout_id else ""
        return (
            f"{self.home.sessions}/rollout-2026-11-22T06-18-{second:02}-{thread_id}{suffix}.jsonl"
        )

    def write(self, path: str, ordinals: range, base: Any = None) -> str:
        with open(path, "w", encoding="utf-8") as file:
            for ordinal in ordinals:
                first = ordinal == ordinals.start
                kind = "session_meta" if first else "event_msg"
                payload = {"n": ordinal} if base is None or not first else {"history_base": base}
                line = {"timestamp": "t", "ordinal": ordinal, "type": kind, "payload": payload}
                file.write(json.dumps(line) + "\n")
        return path

    def base(self, path: str, rollout_id: str, end: int) -> dict[str, Any]:
        """``history_base`` for the records of *path* below the ordinal *end*."""
        lines = Path(path).read_bytes().splitlines(keepends=True)
        offset = sum(len(line) for line in lines if json.loads(line)["ordinal"] < end)
        return {
            "thread_id": rollout_id,
            "end_ordinal_exclusive": end,
            "end_byte_offset": offset,
        }

    def find(self, rollout_id: str) -> str | None:
        return paths.find_rollout(self.home, rollout_id)

    def read(self, path: str, after: int = 0) -> list[RolloutItem | DamagedLine]:
        """The history forwards, after it was seen to be the same backwards."""
        both = [
            [
                entry
                for batch in reader.read_history(path, self.find, after=after, reverse=reverse)
                for entry in batch
            ]
            for reverse in (False, True)
        ]
        forwards, backwards = both
        assert [(entry.position, entry.raw) for entry in forwards] == [
            (entry.position, entry.raw) for entry in reversed(backwards)
        ]
        return forwards

    def ordinals(self, path: str, after: int = 0) -> list[int | None]:
        return [
            entry.ordinal if isinstance(entry, RolloutItem) else None
            for entry in self.read(path, after)
        ]


@pytest.fixture
def rollouts(tmp_path: Path) -> Rollouts:
    return Rollouts(tmp_path)


@pytest.fixture
def deep(rollouts: Rollouts) -> str:
    """A fork at ordinal 25 of a fork at ordinal 20 of a root with 30 records."""
    root = rollouts.write(rollouts.path(ROOT), range(30))
    fork = rollouts.write(rollouts.path(FORK), range(20, 28), rollouts.base(root, ROOT, 20))
    return rollouts.write(rollouts.path(DEEP), range(25, 29), rollouts.base(fork, FORK, 25))


def test_a_fork_of_a_fork_begins_with_what_it_inherits(rollouts: Rollouts, deep: str) -> None:
    entries = rollouts.read(deep)
    assert rollouts.ordinals(deep) == list(range(29))
    assert [entry.position for entry in entries] == list(range(1, 30))
    assert lineage.resolve_lineage(deep, rollouts.find).inherited == 25


@pytest.mark.parametrize("after", [0, 1, 19, 20, 21, 25, 28, 29])
def test_a_position_may_lie_in_any_segment(rollouts: Rollouts, deep: str, after: int) -> None:
    assert rollouts.ordinals(deep, after) == list(range(after, 29))


def test_a_file_alone_is_without_its_lineage(deep: str) -> None:
    entries = [entry for batch in reader.read_file(deep) for entry in batch]
    assert [entry.position for entry in entries] == [1, 2, 3, 4]


@pytest.mark.parametrize("offset", [-1, 0, 7, 10**9, None])
def test_a_wrong_byte_offset_gives_way_to_the_ordinal(
    rollouts: Rollouts, offset: int | None
) -> None:
    root = rollouts.write(rollouts.path(ROOT), range(30))
    base = rollouts.base(root, ROOT, 20)
    if offset is None:
        del base["end_byte_offset"]
    else:
        base["end_byte_offset"] = offset
    fork = rollouts.write(rollouts.path(FORK), range(20, 22), base)
    assert rollouts.ordinals(fork) == list(range(22))


def test_the_byte_offset_of_another_record_gives_way_to_the_ordinal(rollouts: Rollouts) -> None:
    root = rollouts.write(rollouts.path(ROOT), range(30))
    for other in (10, 21, 30):
        base = rollouts.base(root, ROOT, other) | {"end_ordinal_exclusive": 20}
        fork = rollouts.write(rollouts.path(FORK), range(20, 22), base)
        assert rollouts.ordinals(fork) == list(range(22))


def test_a_compressed_source_is_cut_at_the_ordinal(rollouts: Rollouts, deep: str) -> None:
    for path in (rollouts.path(ROOT), rollouts.path(FORK)):
        Path(path + ".zst").write_bytes(zstd.compress(Path(path).read_bytes()))
        os.unlink(path)
    assert rollouts.ordinals(deep) == list(range(29))


def test_damaged_and_blank_lines_of_a_source_count(rollouts: Rollouts) -> None:
    root = rollouts.path(ROOT)
    rollouts.write(root, range(10))
    content = Path(root).read_bytes().splitlines(keepends=True)
    content.insert(5, b"garbage\n\n")
    Path(root).write_bytes(b"".join(content))
    base = {"thread_id": ROOT, "end_ordinal_exclusive": 10}
    fork = rollouts.write(rollouts.path(FORK), range(10, 12), base)
    entries = rollouts.read(fork)
    assert [entry.position for entry in entries] == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]
    assert isinstance(entries[5], DamagedLine)


def test_a_missing_source_is_one_report_in_the_place_of_its_lines(
    rollouts: Rollouts, deep: str
) -> None:
    os.unlink(rollouts.path(ROOT))
    entries = rollouts.read(deep)
    report = entries[0]
    assert isinstance(report, DamagedLine)
    assert report.position == 20
    assert ROOT in report.reason
    assert [(entry.position, entry.raw is not None) for entry in entries[1:]] == [
        (position, True) for position in range(21, 30)
    ]
    assert lineage.resolve_lineage(deep, rollouts.find).inherited == 25


def test_a_missing_middle_leaves_the_own_lines(rollouts: Rollouts, deep: str) -> None:
    os.unlink(rollouts.path(FORK))
    assert rollouts.ordinals(deep) == [None, 25, 26, 27, 28]
    assert rollouts.ordinals(deep, after=25) == [25, 26, 27, 28]


def test_a_source_that_cannot_be_read_is_a_report(rollouts: Rollouts, deep: str) -> None:
    root = rollouts.path(ROOT)
    os.unlink(root)
    os.symlink(root, root)
    found = {ROOT: root, FORK: rollouts.path(FORK)}
    resolved = lineage.resolve_lineage(deep, found.get)
    assert resolved.segments[0].missing is not None
    assert resolved.inherited == 25


def test_a_source_that_is_too_short_gives_what_it_has(rollouts: Rollouts, deep: str) -> None:
    root = Path(rollouts.path(ROOT))
    root.write_bytes(b"".join(root.read_bytes().splitlines(keepends=True)[:12]))
    entries = rollouts.read(deep)
    assert rollouts.ordinals(deep) == [*range(12), None, *range(20, 29)]
    report = entries[12]
    assert isinstance(report, DamagedLine)
    assert (report.position, entries[13].position) == (20, 21)


def test_a_circle_ends(rollouts: Rollouts) -> None:
    base = {"thread_id": FORK, "end_ordinal_exclusive": 5, "end_byte_offset": 100}
    root = rollouts.write(rollouts.path(ROOT), range(5, 8), base)
    rollouts.write(rollouts.path(FORK), range(5, 8), base | {"thread_id": ROOT})
    entries = rollouts.read(root)
    assert [isinstance(entry, DamagedLine) for entry in entries][-3:] == [False] * 3
    assert "inherits from itself" in getattr(entries[0], "reason", "")


@pytest.mark.parametrize(
    "base", ["x", 5, [], {}, {"thread_id": 5, "end_ordinal_exclusive": 1}, {"thread_id": ROOT}]
)
def test_a_base_that_cannot_be_understood_is_a_report(rollouts: Rollouts, base: Any) -> None:
    path = rollouts.write(rollouts.path(FORK), range(3, 5), base)
    entries = rollouts.read(path)
    assert [(entry.position, isinstance(entry, DamagedLine)) for entry in entries] == [
        (1, True),
        (2, False),
        (3, False),
    ]


def current(rollouts: Rollouts, preferred: str | None = None) -> str | None:
    file = lineage.current_rollout(paths.find_by_id(rollouts.home, ROOT), preferred)
    return file.path if file else None


def test_the_latest_revert_stands_for_its_thread(rollouts: Rollouts) -> None:
    assert current(rollouts) is None
    root = rollouts.write(rollouts.path(ROOT), range(30))
    assert current(rollouts) == root
    first = rollouts.path(ROOT, REVERT, second=5)
    rollouts.write(first, range(20, 25), rollouts.base(root, ROOT, 20))
    assert current(rollouts) == first
    second = rollouts.path(ROOT, DEEP, second=9)
    rollouts.write(second, range(22, 25), rollouts.base(first, REVERT, 22))
    assert current(rollouts) == second
    assert rollouts.ordinals(second) == list(range(25))


def test_what_the_row_says_wins_if_it_is_there(rollouts: Rollouts) -> None:
    root = rollouts.write(rollouts.path(ROOT), range(30))
    revert = rollouts.path(ROOT, REVERT, second=5)
    rollouts.write(revert, range(20, 25), rollouts.base(root, ROOT, 20))
    assert current(rollouts, root) == root
    assert current(rollouts, root + ".gone") == revert


def test_a_source_never_stands_for_its_thread_whatever_its_name_says(rollouts: Rollouts) -> None:
    root = rollouts.write(rollouts.path(ROOT, second=59), range(30))
    revert = rollouts.path(ROOT, REVERT, second=5)
    rollouts.write(revert, range(20, 25), rollouts.base(root, ROOT, 20))
    assert current(rollouts) == revert


def test_an_active_copy_comes_before_an_archived_one(rollouts: Rollouts) -> None:
    root = rollouts.write(rollouts.path(ROOT), range(3))
    os.makedirs(rollouts.home.archived)
    rollouts.write(paths.archived_path(rollouts.home, root), range(5))
    assert current(rollouts) == root
