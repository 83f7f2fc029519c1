"""Codex's file locks, taken as Codex 0.169 takes them (0.146 is the first that does).

The right to write a thread is a ``flock`` on ``thread-writer-locks/<thread id>.lock``. That file
goes when the lock is given back, so taking and giving back happen under a short ``flock`` on
``.coordination.lock`` beside it. After a crash the file stays behind and is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from typing import Final, Self

from threadstore.errors import Conflict, StoreUnavailable
from threadstore.stores.local.paths import Home, make_folders, open_private, unavailable

__all__ = [
    "WriterLock",
    "check_unused",
    "database_holder",
    "index_lock",
    "locked_threads",
    "open_by_other_process",
    "writer_holder",
]

_COORDINATION: Final = ".coordination.lock"
_SUFFIX: Final = ".lock"
_PATIENCE: Final = 5.0
"""Seconds to wait for the coordination lock; its holders keep it for less than a millisecond."""
_PAUSE: Final = 0.002
_SOMEBODY: Final = "another process"


class WriterLock:
    """The right to write one thread, held until :meth:`release` or the end of the process."""

    def __init__(self, home: Home, thread_id: str, descriptor: int) -> None:
        self.thread_id = thread_id
        self._home = home
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, home: Home, thread_id: str) -> Self:
        """Take the lock at once. Raises Conflict, naming the holder where the system shows it (also
        if this very process holds it), or StoreUnavailable."""
        path = _lock_path(home, thread_id)
        try:
            make_folders(home.lock_folder)
            with _coordination(home, create=True):
                descriptor, holder = _take(path)
        except StoreUnavailable:
            raise
        except OSError as error:
            raise unavailable(error, f"cannot lock thread {thread_id} with {path}") from error
        if holder is not None:
            raise Conflict(
                f"thread {thread_id} already has an active writer: {holder}",
                holder=holder,
                hint="close the thread there, or wait until it is closed",
            )
        return cls(home, thread_id, descriptor)

    @property
    def held(self) -> bool:
        """Whether it was not released yet."""
        return self._descriptor is not None

    def release(self) -> None:
        """Give the lock back and remove its file. Twice is once; never fails."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        path = _lock_path(self._home, self.thread_id)
        # Without coordination the file stays behind, free: another process may be opening it.
        with contextlib.suppress(OSError), _coordination(self._home, create=False):
            if _is_at(descriptor, path):
                os.unlink(path)
        os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


def writer_holder(home: Home, thread_id: str) -> str | None:
    """Who holds a thread's writer lock now, for people (``process 4711 (codex)``); ``None`` if
    nobody. Changes nothing on disk. Raises StoreUnavailable if it cannot be found out."""
    path = _lock_path(home, thread_id)
    try:
        with _coordination(home, create=False):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return None if _lock_now(descriptor) else _holder(descriptor)
            finally:
                os.close(descriptor)
    except FileNotFoundError:
        return None
    except StoreUnavailable:
        raise
    except OSError as error:
        raise unavailable(error, f"cannot look at the lock {path}") from error


def locked_threads(home: Home) -> list[str]:
    """The threads that somebody has locked to write them, or had until a crash."""
    try:
        names = os.listdir(home.lock_folder)
    except OSError:
        return []
    return [name.removesuffix(_SUFFIX) for name in names if name != _COORDINATION]


def open_by_other_process(path: str) -> str | None:
    """Another process that has *path* open for writing, as far as the system shows it.

    Codex before 0.146 takes no writer lock; this is the only sign of it. ``None`` if none is seen.
    """
    if _nobody_writes(path):
        return None
    with contextlib.suppress(OSError):
        wanted = os.stat(path)
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid() and _writes(entry, path, wanted):
                return _describe(int(entry))
    return None


def _nobody_writes(path: str) -> bool:
    """Whether the kernel says so at once: it lends a file for reading only if nobody has it open
    for writing. Without that the descriptors of all processes have to be looked at."""
    import signal  # here: it takes longer than the look that a list has at the locks

    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # Whoever opens it now waits until we give it back; that must not end our process.
            fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            return True
        finally:
            os.close(descriptor)
    return False


def check_unused(thread_id: str, path: str) -> None:
    """Conflict if another process has the thread's log open for writing; for those that take no
    lock. Raises Conflict, naming the process."""
    holder = open_by_other_process(path)
    if holder is not None:
        raise Conflict(
            f"thread {thread_id} has an active writer: {holder}",
            holder=holder,
            hint="close the thread there, or wait until it is closed",
        )


@contextlib.contextmanager
def index_lock(home: Home) -> Iterator[None]:
    """Hold ``session_index.jsonl.lock`` (waits, as Codex 0.169 does). Raises OSError."""
    descriptor = open_private(f"{home.name_index}.lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _lock_path(home: Home, thread_id: str) -> str:
    return f"{home.lock_folder}/{thread_id}{_SUFFIX}"


def _take(path: str) -> tuple[int, str | None]:
    """Lock the file at *path*: its descriptor, or who holds it."""
    while True:
        descriptor = open_private(path, os.O_RDWR)
        if not _lock_now(descriptor):
            holder = _holder(descriptor)
            os.close(descriptor)
            return -1, holder
        if _is_at(descriptor, path):
            return descriptor, None
        os.close(descriptor)  # its holder removed it between our opening and locking


def _lock_now(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _coordination(home: Home, *, create: bool) -> Iterator[None]:
    """Hold the coordination lock; without *create* a missing one is not needed."""
    path = f"{home.lock_folder}/{_COORDINATION}"
    try:
        descriptor = (
            open_private(path, os.O_RDWR) if create else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        )
    except FileNotFoundError:
        if create:
            raise
        yield
        return
    try:
        deadline = time.monotonic() + _PATIENCE
        while not _lock_now(descriptor):
            if time.monotonic() > deadline:
                holder = _holder(descriptor)
                raise StoreUnavailable(
                    f"{path} is held by {holder}", hint="end that process, then try again"
                )
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _holder(descriptor: int) -> str:
    """Who holds the flock on an open file."""
    return _listed_holder(os.fstat(descriptor), "FLOCK") or _SOMEBODY


def database_holder(path: str) -> str | None:
    """Who keeps others from writing a SQLite database, where the system shows it."""
    for suffix in ("-shm", ""):  # the lock of writers with a write-ahead log, and without
        with contextlib.suppress(OSError):
            holder = _listed_holder(os.stat(path + suffix), "POSIX")
            if holder is not None:
                return holder
    return None


def _listed_holder(info: os.stat_result, kind: str) -> str | None:
    """Who holds a lock of that kind for writing, from the kernel's list of locks."""
    device = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}"
    pids: dict[bool, int] = {}
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as locks:
            for line in locks:
                fields = line.split()
                # 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234567 0 EOF   ("->" marks one that waits)
                if (
                    len(fields) < 6
                    or (fields[1], fields[3]) != (kind, "WRITE")
                    or not fields[5].endswith(f":{info.st_ino}")
                ):
                    continue
                # Layered file systems show another device there than to stat.
                pids[fields[5].startswith(device)] = int(fields[4])
    except (OSError, ValueError):
        return None
    return _describe(pids.get(True, pids.get(False, 0))) if pids else None


def _describe(pid: int) -> str:
    if pid <= 0:  # a process that this container does not see
        return _SOMEBODY
    if pid == os.getpid():
        return "this process"
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"process {pid} ({file.read().strip()})"
    except OSError:
        return f"process {pid}"


def _writes(pid: str, path: str, wanted: os.stat_result) -> bool:
    """Whether a process has the file *wanted* open for writing, as far as we may look."""
    folder = f"/proc/{pid}/fd"
    base = os.path.basename(path)
    try:
        numbers = os.listdir(folder)
    except OSError:
        return False
    for number in numbers:
        with contextlib.suppress(OSError, ValueError):
            # The name first: asking for the state of a file on a lost network disk can hang.
            if os.path.basename(os.readlink(f"{folder}/{number}")) != base:
                continue
            if not os.path.samestat(os.stat(f"{folder}/{number}"), wanted):
                continue
            with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
                fields = dict(line.split(":", 1) for line in file if ":" in line)
            if int(fields.get("flags", "0"), 8) & os.O_ACCMODE != os.O_RDONLY:
                return True
    return False
