"""Reading histories: positions, damage, snapshots, memory."""

from __future__ import annotations

import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from threadstore.errors import StoreUnavailable
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.stores.local import reader
from threadstore.stores.local.compression import zstd

HEADER = b'{"timestamp":"t","type":"session_meta","payload":{"id":"01a201e7-f15d-79e1-86d6-1234"}}'


def event(number: int, size: int = 0) -> bytes:
    return b'{"timestamp":"t","type":"event_msg","payload":{"n":%d,"text":"%s"}}' % (
        number,
        b"x" * size,
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/rollout-x.jsonl"


def put(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


def read(path: str, *, after: int = 0, reverse: bool = False) -> list[RolloutItem | DamagedLine]:
    batches = reader.read_history(path, lambda _: None, after=after, reverse=reverse)
    return [entry for batch in batches for entry in batch]


def kinds(entries: list[RolloutItem | DamagedLine]) -> list[tuple[int | None, bool]]:
    return [(entry.position, isinstance(entry, RolloutItem)) for entry in entries]


def test_damage_costs_its_line_and_blank_lines_count(path: str) -> None:
    lines = [
        b"\xef\xbb\xbf" + HEADER,
        b"",
        event(1) + b"\r",
        b"  " + event(2) + b" ",
        b"\xff\xfe garbage",
        event(3).replace(b'"n"', b'"\xff"'),
        b" \t",
        b"{torn",
        event(4),
    ]
    put(path, b"\n".join(lines) + b"\n")
    entries = read(path)
    assert kinds(entries) == [
        (1, True),
        (3, True),
        (4, True),
        (5, False),
        (6, True),
        (8, False),
        (9, True),
    ]
    assert [entry.raw for entry in entries] == [
        lines[entry.position - 1] for entry in entries if entry.position
    ]
    assert kinds(read(path, reverse=True)) == kinds(entries)[::-1]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_tail_torn_at_any_byte_costs_at_most_itself(path: str, reverse: bool) -> None:
    whole = HEADER + b"\n" + event(1) + b"\n"
    last = event(2)
    for length in range(len(last) + 1):
        put(path, whole + last[:length])
        entries = read(path, reverse=reverse)
        if reverse:
            entries.reverse()
        complete = length in {0, len(last)}
        assert kinds(entries)[:2] == [(1, True), (2, True)]
        assert kinds(entries)[2:] == ([(3, complete)] if length else [])
        if length:
            assert entries[2].raw == last[:length]
            assert complete or "torn" in getattr(entries[2], "reason", "")


@pytest.mark.parametrize("after", [0, 1, 255, 256, 257, 600, 999, 1000, 1001, 5000])
def test_reading_starts_after_a_position_in_both_directions(path: str, after: int) -> None:
    put(path, b"".join(event(number, 700) + b"\n" for number in range(1, 1001)))
    wanted = list(range(after + 1, 1001))
    assert [entry.position for entry in read(path, after=after)] == wanted
    assert [entry.position for entry in read(path, after=after, reverse=True)] == wanted[::-1]


def test_batches_stay_small(path: str) -> None:
    put(path, b"".join(event(number) + b"\n" for number in range(2000)))
    sizes = [len(batch) for batch in reader.read_file(path)]
    assert sum(sizes) == 2000
    assert max(sizes) <= 256


def test_an_oversized_line_is_whole_if_good_and_shortened_in_its_report_if_not(path: str) -> None:
    good, bad = event(1, 3 << 20), b"x" * (3 << 20)
    put(path, b"\n".join([HEADER, good, bad, event(2)]))
    for reverse in (False, True):
        entries = read(path, reverse=reverse)
        if reverse:
            entries.reverse()
        assert kinds(entries) == [(1, True), (2, True), (3, False), (4, True)]
        assert entries[1].raw == good
        assert entries[2].raw == bad[: 1 << 16]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_read_sees_the_file_as_it_was_when_it_began(path: str, reverse: bool) -> None:
    put(path, b"".join(event(number, 2000) + b"\n" for number in range(1000)))
    batches = reader.read_file(path, reverse=reverse)
    seen = len(next(batches))
    with open(path, "ab") as file:
        file.write(event(1000) + b"\n")
    assert seen + sum(map(len, batches)) == 1000


def test_a_rollout_may_be_compressed_or_made_plain_between_reads(path: str) -> None:
    put(path, HEADER + b"\n")
    put(path + ".zst", zstd.compress(HEADER + b"\n" + event(1) + b"\n"))
    assert len(read(path)) == 1
    os.unlink(path)
    assert len(read(path)) == 2
    assert len(read(path + ".zst")) == 2


def test_reading_never_misses_a_rollout_that_changes_its_form(path: str, tmp_path: Path) -> None:
    spare, packed = f"{tmp_path}/spare", f"{tmp_path}/packed"
    put(spare, HEADER + b"\n")
    put(packed, zstd.compress(HEADER + b"\n"))
    os.link(spare, path)
    done = threading.Event()

    def keep_changing() -> None:
        while not done.is_set():
            os.link(packed, path + ".zst")
            os.unlink(path)
            os.link(spare, path)
            os.unlink(path + ".zst")

    changing = threading.Thread(target=keep_changing)
    changing.start()
    try:
        assert {len(read(path)) for _ in range(300)} == {1}
    finally:
        done.set()
        changing.join()


def test_a_rollout_that_is_gone_is_not_found(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        read(path)
    with pytest.raises(FileNotFoundError):
        reader.read_header(path)


def test_a_rollout_that_cannot_be_read_is_unavailable(path: str) -> None:
    os.symlink(path, path)
    with pytest.raises(StoreUnavailable, match="cannot read"):
        read(path)
    os.unlink(path)
    os.mkdir(path)
    with pytest.raises(StoreUnavailable, match="cannot read"):
        reader.read_header(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"\n \n\n"])
def test_an_empty_file_has_no_entries(path: str, content: bytes) -> None:
    put(path, content)
    assert read(path) == []
    assert read(path, reverse=True) == []
    assert reader.read_header(path) is None


def test_the_header_is_the_first_session_meta(path: str) -> None:
    other = HEADER.replace(b"01a201e7", b"01a201e8")
    put(path, b"\n".join([b"garbage", b"", event(1), HEADER, other]))
    header = reader.read_header(path)
    assert header is not None
    assert header.raw == HEADER
    put(path, b"\xef\xbb\xbf" + HEADER)
    assert reader.read_header(path) is not None


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_memory_is_bounded_however_long_the_history(
    path: str, compressed: bool, reverse: bool
) -> None:
    content = b"".join(event(number, 1400) + b"\n" for number in range(10_000))
    put(path + (".zst" if compressed else ""), zstd.compress(content) if compressed else content)
    del content
    tracemalloc.start()
    try:
        count = sum(len(batch) for batch in reader.read_file(path, reverse=reverse))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 10_000
    assert peak < 2 << 20
