"""The log writer: whole batches or nothing, whatever happens to the process, disk or file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.paths import Home
from threadstore.stores.local.recorder import Recorder

THREAD = "01a201e7-f15d-79e1-86d6-5fdbf3cf805c"
HEADER = b'{"header":true}'
U64 = (1 << 64) - 1


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/sessions/2026/11/22/rollout-2026-11-22T06-18-27-{THREAD}.jsonl"


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[WriterLock]:
    with WriterLock.acquire(Home(home=str(tmp_path), sqlite_home=str(tmp_path)), THREAD) as lock:
        yield lock


def put(path: str, content: bytes) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_bytes(content)
    return path


def content(path: str) -> bytes:
    return Path(path).read_bytes()


def record(ordinal: object) -> bytes:
    return b'{"timestamp":"t","ordinal":%s,"type":"x","payload":{}}' % str(ordinal).encode()


def child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)


def test_nothing_exists_before_the_first_append(path: str, tmp_path: Path) -> None:
    recorder = Recorder.create(path, HEADER, lock=None)
    assert recorder.append([]) == 0
    recorder.sync()
    recorder.close()
    assert not recorder.materialised
    assert os.listdir(tmp_path) == []


def test_the_first_append_puts_the_header_first(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None)
    assert recorder.append([b"1", b"2"]) == 3
    assert recorder.append([b"3"]) == 4
    assert recorder.materialised
    assert content(path) == HEADER + b"\n1\n2\n3\n"
    recorder.close()


def test_the_first_item_may_be_the_header_itself(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None, header_ordinal=0)
    assert recorder.append([b"own header", b"1"], has_header=True) == 2
    assert recorder.next_ordinal == 2
    assert content(path) == b"own header\n1\n"
    recorder.close()


def test_materialising_writes_the_header_once(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None, inherited=7)
    assert recorder.position == 7
    assert recorder.materialise() == 8
    assert recorder.materialise() == 8
    assert recorder.append([b"1"], has_header=True) == 9
    assert content(path) == HEADER + b"\n1\n"
    recorder.close()


def test_files_and_folders_are_private_whatever_the_umask(path: str, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Recorder.create(path, HEADER, lock=None).materialise()
    finally:
        os.umask(before)
    assert os.stat(path).st_mode & 0o777 == 0o600
    for folder in ("sessions", "sessions/2026", "sessions/2026/11", "sessions/2026/11/22"):
        assert os.stat(tmp_path / folder).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_an_existing_file_is_never_overwritten(path: str, suffix: str) -> None:
    put(path + suffix, b"other history\n")
    recorder = Recorder.create(path, HEADER, lock=None)
    with pytest.raises(Conflict, match="exists already"):
        recorder.append([b"1"])
    assert not recorder.materialised
    assert content(path + suffix) == b"other history\n"
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path + suffix)]


def test_reopening_goes_on_where_the_log_ends(path: str) -> None:
    put(path, HEADER + b"\n\ngarbage\n1\n")
    os.chmod(path, 0o644)
    recorder = Recorder.open_existing(path, lock=None, inherited=10)
    assert (recorder.position, recorder.next_ordinal, recorder.materialised) == (14, None, True)
    assert recorder.append([b"2"]) == 15
    assert content(path) == HEADER + b"\n\ngarbage\n1\n2\n"
    assert os.stat(path).st_mode & 0o777 == 0o644
    recorder.close()


def test_reopening_needs_a_file(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        Recorder.open_existing(path, lock=None)


def test_a_tail_torn_at_any_byte_is_ended_before_the_next_line(path: str) -> None:
    last = record(1)
    for length in range(len(last) + 1):
        before = HEADER + b"\n" + last[:length]
        put(path, before)
        recorder = Recorder.open_existing(path, lock=None)
        assert recorder.position == (2 if length else 1)
        assert recorder.append([b"2", b"3"]) == (4 if length else 3)
        assert content(path) == before + (b"\n" if length else b"") + b"2\n3\n"
        assert recorder.append([b"4"]) == recorder.position
        assert content(path).endswith(b"2\n3\n4\n")
        recorder.close()


def test_a_compressed_rollout_is_made_plain_first(path: str) -> None:
    put(path + ".zst", zstd.compress(HEADER + b"\n1\n"))
    recorder = Recorder.open_existing(path + ".zst", lock=None)
    assert (recorder.path, recorder.position) == (path, 2)
    recorder.append([b"2"])
    assert content(path) == HEADER + b"\n1\n2\n"
    assert not os.path.exists(path + ".zst")
    recorder.close()


def test_growth_by_another_program_is_noticed(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None)
    recorder.append([b"1"])
    with open(path, "ab") as other:
        other.write(b"theirs\ntorn")
    with pytest.raises(Conflict, match="position 4, not 2"):
        recorder.append([b"2"], expected_position=2)
    assert recorder.position == 4
    assert recorder.append([b"2"], expected_position=4) == 5
    assert content(path) == HEADER + b"\n1\ntheirs\ntorn\n2\n"
    recorder.close()


def test_a_file_that_became_shorter_is_counted_again(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None)
    recorder.append([b"1", b"2"])
    os.truncate(path, len(HEADER))
    assert recorder.append([b"3"]) == 2
    assert content(path) == HEADER + b"\n3\n"
    recorder.close()


def test_a_file_compressed_under_the_writer_is_made_plain_again(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None)
    recorder.append([b"1"])
    put(path + ".zst", zstd.compress(content(path)))
    os.unlink(path)
    assert recorder.append([b"2"]) == 3
    recorder.sync()
    assert content(path) == HEADER + b"\n1\n2\n"
    recorder.close()


def test_a_file_removed_under_the_writer_fails_the_append(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None)
    recorder.append([b"1"])
    os.unlink(path)
    with pytest.raises(StoreUnavailable, match="cannot append"):
        recorder.append([b"2"])
    assert not os.path.exists(path)
    recorder.close()


def test_a_closed_recorder_appends_nothing(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None)
    recorder.append([b"1"])
    recorder.close()
    recorder.close()
    recorder.sync()
    with pytest.raises(StoreUnavailable):
        recorder.append([b"2"])
    assert content(path) == HEADER + b"\n1\n"


def test_a_file_in_the_place_of_a_folder_is_explained(path: str, tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("")
    recorder = Recorder.create(path, HEADER, lock=None)
    with pytest.raises(StoreUnavailable, match="Not a directory") as caught:
        recorder.materialise()
    assert caught.value.hint


def test_ordinals_count_on_from_the_header(path: str) -> None:
    recorder = Recorder.create(path, HEADER, lock=None, header_ordinal=115, inherited=115)
    assert recorder.next_ordinal == 116
    recorder.append([record(116), record(117)])
    assert recorder.next_ordinal == 118
    assert recorder.position == 118
    recorder.close()


@pytest.mark.parametrize(
    ("tail", "following"),
    [
        (record(4) + b"\n", 5),
        (record(5), 6),
        (record(4) + b"\n" + record(5)[:-1], 5),
        (record(4) + b'\n\n{"a":1}\n', 5),
        (record(4) + b"\n" + record('"5"') + b"\n" + record(-1) + b"\n", 5),
        (record(U64 - 1) + b"\n", U64),
    ],
)
def test_the_last_record_says_the_next_ordinal(path: str, tail: bytes, following: int) -> None:
    put(path, record(0) + b"\n" + tail)
    recorder = Recorder.open_existing(path, lock=None, paginated=True)
    assert recorder.next_ordinal == following
    recorder.append([record(following)])
    assert recorder.next_ordinal == following + 1
    recorder.close()


def test_an_ordinal_that_another_program_wrote_is_noticed(path: str) -> None:
    put(path, record(0) + b"\n")
    recorder = Recorder.open_existing(path, lock=None, paginated=True)
    with open(path, "ab") as other:
        other.write(record(8) + b"\n")
    recorder.refresh()
    assert recorder.next_ordinal == 9
    recorder.close()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage\n",
        record(0) + b'\n{"timestamp":"t","type":"x","payload":{}}\n',
    ],
)
def test_a_paginated_rollout_without_a_last_ordinal_is_refused(path: str, text: bytes) -> None:
    put(path, text)
    with pytest.raises(InvalidRequest):
        Recorder.open_existing(path, lock=None, paginated=True)
    assert content(path) == text


def test_ordinals_that_run_out_append_nothing(path: str) -> None:
    before = record(U64) + b"\n"
    put(path, before)
    recorder = Recorder.open_existing(path, lock=None, paginated=True)
    with pytest.raises(InvalidRequest, match="run out"):
        recorder.append([b"{}"])
    assert content(path) == before
    recorder.close()


SMALL_DISK = """
import resource, sys
from threadstore.errors import StoreUnavailable
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.paths import Home
from threadstore.stores.local.recorder import Recorder

home, path, case = sys.argv[1:]
lock = WriterLock.acquire(Home(home=home, sqlite_home=home), "01a201e7-f15d-79e1-86d6-5fdbf3cf805c")
recorder = Recorder.create(path, b"header", lock=None if case == "unlocked" else lock)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
if case == "first":
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, hard))
else:
    assert recorder.append([b"1" * 10]) == 2
    recorder.sync()
    resource.setrlimit(resource.RLIMIT_FSIZE, (28, hard))
try:
    recorder.append([b"2" * 5, b"3" * 5, b"4" * 5])
except StoreUnavailable as error:
    print(error.hint)
print(recorder.materialised, recorder.position)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
if case != "stop":
    print(recorder.append([b"5" * 5]))
    recorder.sync()
"""


def test_a_batch_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path, path: str) -> None:
    out = child(SMALL_DISK, str(tmp_path), path, "stop").stdout.splitlines()
    assert "larger than" in out[0]
    assert out[1] == "True 2"
    assert content(path) == b"header\n1111111111\n"


def test_after_a_full_disk_the_writer_goes_on(tmp_path: Path, path: str) -> None:
    out = child(SMALL_DISK, str(tmp_path), path, "go on").stdout.splitlines()
    assert out[-1] == "3"
    assert content(path) == b"header\n1111111111\n55555\n"


def test_without_the_lock_nothing_is_cut_off_but_the_torn_line_is_ended(
    tmp_path: Path, path: str
) -> None:
    out = child(SMALL_DISK, str(tmp_path), path, "unlocked").stdout.splitlines()
    assert out[-1] == "5"
    assert content(path) == b"header\n1111111111\n22222\n3333\n55555\n"


def test_a_first_append_that_fails_leaves_nothing_behind(tmp_path: Path, path: str) -> None:
    out = child(SMALL_DISK, str(tmp_path), path, "first").stdout.splitlines()
    assert out[1] == "False 0"
    assert out[2] == "2"
    assert content(path) == b"header\n55555\n"


WRITER = """
import sys
from threadstore.stores.local.recorder import Recorder

recorder = Recorder.open_existing(sys.argv[1], lock=None)
number = recorder.position
while True:
    batch = [b"%d:" % (number + offset) + b"x" * 3000 for offset in range(1, 11)]
    number = recorder.append(batch)
    print(number, flush=True)
"""


def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(path: str) -> None:
    put(path, HEADER + b"\n")
    acknowledged: list[int] = []
    for round_ in range(5):
        command = [sys.executable, "-c", WRITER, path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            answers = [process.stdout.readline() for _ in range(1 + 5 * round_)]
            process.kill()
            answers += process.stdout.readlines()
        acknowledged += [int(answer) for answer in answers if answer.endswith(b"\n")]
    written = content(path).split(b"\n")
    for last in acknowledged:
        for position in range(last - 9, last + 1):
            assert written[position - 1] == b"%d:" % position + b"x" * 3000
    recorder = Recorder.open_existing(path, lock=None)
    recorder.append([b"end"])
    assert content(path).endswith(b"\nend\n")
    recorder.close()


def test_a_failed_sync_of_a_removed_folder_can_be_repeated(path: str, tmp_path: Path) -> None:
    recorder = Recorder.create(path, HEADER, lock=None)
    recorder.materialise()
    os.rename(tmp_path / "sessions", tmp_path / "moved")
    with pytest.raises(StoreUnavailable, match="cannot sync"):
        recorder.sync()
    os.rename(tmp_path / "moved", tmp_path / "sessions")
    recorder.sync()
    recorder.close()
