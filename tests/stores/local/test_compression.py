"""Compressed rollouts: decoding, damage, and making them plain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from threadstore.errors import InvalidRequest
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.stores.local import compression, reader
from threadstore.stores.local.compression import zstd

LINES = [
    b'{"timestamp":"2026-11-22T05:42:54.452Z","type":"event_msg","payload":{"n":%d,"noise":"%s"}}'
    % (number, os.urandom(400).hex().encode())
    for number in range(1500)
]
CONTENT = b"".join(line + b"\n" for line in LINES)


@pytest.fixture(scope="module")
def packed() -> bytes:
    return zstd.compress(CONTENT, level=3)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/rollout-x.jsonl"


def put(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)


def read(path: str, *, reverse: bool = False) -> list[RolloutItem | DamagedLine]:
    return [entry for batch in reader.read_file(path, reverse=reverse) for entry in batch]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_compressed_rollout_reads_like_a_plain_one(
    path: str, packed: bytes, reverse: bool
) -> None:
    put(path + ".zst", packed)
    entries = read(path, reverse=reverse)
    if reverse:
        entries.reverse()
    assert [entry.raw for entry in entries] == LINES
    assert [entry.position for entry in entries] == list(range(1, len(LINES) + 1))
    assert all(isinstance(entry, RolloutItem) for entry in entries)


def test_several_frames_are_one_file(path: str) -> None:
    put(path + ".zst", zstd.compress(CONTENT[:1000]) + zstd.compress(CONTENT[1000:]))
    assert [entry.raw for entry in read(path)] == LINES


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9, 0.9999])
def test_a_truncated_file_costs_what_is_lost_and_one_report(
    path: str, packed: bytes, part: float, reverse: bool
) -> None:
    put(path + ".zst", packed[: int(len(packed) * part)])
    entries = read(path, reverse=reverse)
    if reverse:
        entries.reverse()
    *items, damage = entries
    assert all(isinstance(item, RolloutItem) for item in items)
    assert [item.raw for item in items] == LINES[: len(items)]
    assert len(items) > len(LINES) * part - 400  # zstd works in blocks of 128 KiB
    assert isinstance(damage, DamagedLine)
    assert damage.position == len(items) + 1
    assert "end too early" in damage.reason


@pytest.mark.parametrize("reverse", [False, True])
def test_damaged_data_cost_what_is_behind_the_damage(
    path: str, packed: bytes, reverse: bool
) -> None:
    broken = bytearray(packed)
    for offset in range(len(packed) // 2, len(packed) // 2 + 64):
        broken[offset] ^= 0xFF
    put(path + ".zst", bytes(broken) + b"garbage")
    entries = read(path, reverse=reverse)
    reports = [entry for entry in entries if isinstance(entry, DamagedLine)]
    assert len(entries) > 300
    assert reports
    assert "damaged" in max(reports, key=lambda report: report.position).reason


def test_a_file_that_is_no_zstd_is_one_report(path: str) -> None:
    put(path + ".zst", b"plain text, really\n")
    (report,) = read(path)
    assert isinstance(report, DamagedLine)
    assert report.position == 1


def test_materialising_keeps_content_mode_and_time(path: str, packed: bytes) -> None:
    put(path + ".zst", packed)
    os.chmod(path + ".zst", 0o640)
    os.utime(path + ".zst", ns=(1, 1_700_000_000_123_456_789))

    compression.materialise(path)

    assert Path(path).read_bytes() == CONTENT
    assert os.listdir(os.path.dirname(path)) == ["rollout-x.jsonl"]
    info = os.stat(path)
    assert info.st_mode & 0o777 == 0o640
    assert info.st_mtime_ns == 1_700_000_000_123_456_789


def test_materialising_never_touches_a_plain_file(path: str, packed: bytes) -> None:
    put(path, b"newer\n")
    put(path + ".zst", packed)
    compression.materialise(path)
    assert Path(path).read_bytes() == b"newer\n"
    assert Path(path + ".zst").read_bytes() == packed


def test_a_damaged_file_is_not_materialised_and_stays(path: str, packed: bytes) -> None:
    put(path + ".zst", packed[:-10])
    with pytest.raises(InvalidRequest, match="cannot append"):
        compression.materialise(path)
    assert os.listdir(os.path.dirname(path)) == ["rollout-x.jsonl.zst"]
    assert Path(path + ".zst").read_bytes() == packed[:-10]


def test_nothing_to_materialise_is_said(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        compression.materialise(path)
