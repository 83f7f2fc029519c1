"""Writer locks against real other processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from threadstore.errors import Conflict, StoreUnavailable
from threadstore.stores.local import locks
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.paths import Home

THREAD = "01a201e7-f15d-79e1-86d6-5fdbf3cf805c"
OTHER = "01a201e7-f542-78c0-99a8-dee6f83b3612"

HOLD_FLOCK = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""
HOLD_OPEN = """
import sys
file = open(sys.argv[1], sys.argv[2])
print("open", flush=True)
sys.stdin.readline()
"""
ACQUIRE = """
import sys
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.paths import Home
lock = WriterLock.acquire(Home(home=sys.argv[1], sqlite_home=sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.readline()
"""
RACE = """
import sys
from threadstore.errors import Conflict
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.paths import Home
home = Home(home=sys.argv[1], sqlite_home=sys.argv[1])
won = 0
while won < 40:
    try:
        lock = WriterLock.acquire(home, sys.argv[2])
    except Conflict:
        continue
    with open(sys.argv[3], "r+") as file:
        number = int(file.read())
        file.seek(0)
        file.write(str(number + 1))
    lock.release()
    won += 1
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(home=f"{tmp_path}/home", sqlite_home=str(tmp_path))


@contextmanager
def child(code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has done its part (it printed a line) and stays until the block ends."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def try_flock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_path(home: Home, thread_id: str = THREAD) -> str:
    return f"{home.lock_folder}/{thread_id}.lock"


def test_a_lock_is_a_private_file_that_goes_with_it(home: Home) -> None:
    before = os.umask(0)
    try:
        lock = WriterLock.acquire(home, THREAD)
    finally:
        os.umask(before)
    assert sorted(os.listdir(home.lock_folder)) == [".coordination.lock", f"{THREAD}.lock"]
    assert os.stat(home.lock_folder).st_mode & 0o777 == 0o700
    assert os.stat(lock_path(home)).st_mode & 0o777 == 0o600
    lock.release()
    lock.release()
    assert os.listdir(home.lock_folder) == [".coordination.lock"]


def test_a_second_writer_in_this_process_conflicts(home: Home) -> None:
    with WriterLock.acquire(home, THREAD):
        with pytest.raises(Conflict) as caught:
            WriterLock.acquire(home, THREAD)
        assert caught.value.holder == "this process"
        assert locks.writer_holder(home, THREAD) == "this process"
        with WriterLock.acquire(home, OTHER):
            assert locks.writer_holder(home, OTHER) is not None
    assert locks.writer_holder(home, THREAD) is None
    WriterLock.acquire(home, THREAD).release()


def test_a_holder_in_another_process_is_named(home: Home) -> None:
    os.makedirs(home.lock_folder)
    with child(HOLD_FLOCK, lock_path(home)) as process:
        with pytest.raises(Conflict, match="already has an active writer") as caught:
            WriterLock.acquire(home, THREAD)
        assert caught.value.holder is not None
        assert caught.value.holder.startswith(f"process {process.pid} (")
        assert locks.writer_holder(home, THREAD) == caught.value.holder
    with WriterLock.acquire(home, THREAD):
        pass


def test_another_program_sees_our_lock(home: Home) -> None:
    with child(ACQUIRE, home.home, THREAD), open(lock_path(home), "rb") as file:
        assert not try_flock(file)


def test_the_lock_of_a_killed_writer_is_free(home: Home) -> None:
    with child(ACQUIRE, home.home, THREAD):
        pass
    assert os.path.exists(lock_path(home))
    assert locks.writer_holder(home, THREAD) is None
    with WriterLock.acquire(home, THREAD):
        pass
    assert not os.path.exists(lock_path(home))


def test_two_processes_never_hold_a_lock_at_once(home: Home, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", RACE, home.home, THREAD, str(counter)]
    with subprocess.Popen(command) as first, subprocess.Popen(command) as second:
        assert (first.wait(60), second.wait(60)) == (0, 0)
    assert counter.read_text() == "80"


def test_taking_a_lock_waits_for_the_coordination_lock(home: Home) -> None:
    WriterLock.acquire(home, OTHER).release()
    with open(f"{home.lock_folder}/.coordination.lock", "rb") as coordination:
        fcntl.flock(coordination, fcntl.LOCK_EX)
        taken: list[WriterLock] = []
        waiting = threading.Thread(target=lambda: taken.append(WriterLock.acquire(home, THREAD)))
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        assert not os.path.exists(lock_path(home))
        fcntl.flock(coordination, fcntl.LOCK_UN)
        waiting.join()
    taken[0].release()


def test_a_lock_file_that_another_writer_took_over_is_not_removed(home: Home) -> None:
    lock = WriterLock.acquire(home, THREAD)
    os.unlink(lock_path(home))
    with WriterLock.acquire(home, THREAD):
        lock.release()
        assert os.path.exists(lock_path(home))
        assert locks.writer_holder(home, THREAD) == "this process"


def test_looking_at_locks_creates_nothing(home: Home, tmp_path: Path) -> None:
    assert locks.writer_holder(home, THREAD) is None
    assert os.listdir(tmp_path) == []


def test_a_home_that_is_a_file_is_explained(home: Home, tmp_path: Path) -> None:
    Path(home.home).write_text("")
    with pytest.raises(StoreUnavailable, match="cannot lock thread") as caught:
        WriterLock.acquire(home, THREAD)
    assert caught.value.hint


@pytest.mark.parametrize(("mode", "seen"), [("ab", True), ("r+b", True), ("rb", False)])
def test_a_process_that_writes_a_file_is_seen(tmp_path: Path, mode: str, seen: bool) -> None:
    path = tmp_path / "rollout-x.jsonl"
    path.write_text("")
    with path.open("ab"), child(HOLD_OPEN, str(path), mode) as process:
        holder = locks.open_by_other_process(str(path))
        moved = tmp_path / "folder" / path.name
        moved.parent.mkdir()
        path.rename(moved)
        assert locks.open_by_other_process(str(moved)) == holder
        assert (holder or "").startswith(f"process {process.pid} (") is seen
    assert locks.open_by_other_process(str(moved)) is None
    assert locks.open_by_other_process(str(path)) is None


def test_the_index_lock_excludes_other_holders(home: Home) -> None:
    os.makedirs(home.home)
    with open(f"{home.name_index}.lock", "wb") as file:
        with locks.index_lock(home):
            assert not try_flock(file)
        assert try_flock(file)


def test_a_new_index_lock_is_private(home: Home) -> None:
    os.makedirs(home.home)
    with locks.index_lock(home):
        pass
    assert os.stat(f"{home.name_index}.lock").st_mode & 0o777 == 0o600
