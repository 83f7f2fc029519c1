"""Putting a repaired log in the place of the damaged one, which is kept beside it."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterable
from typing import Final

from threadstore.errors import InvalidRequest, ThreadNotFound
from threadstore.metadata import StoredThread
from threadstore.store import Repair, RepairedLine
from threadstore.stores.local.locks import WriterLock, check_unused
from threadstore.stores.local.paths import (
    ORIGINAL,
    Home,
    create_private,
    existing_path,
    plain_path,
    sync_folder,
    unavailable,
)
from threadstore.stores.local.repair import repaired_lines

__all__ = ["repair_in_place"]

_TEMPORARY: Final = ".repaired.tmp"
_BUFFER: Final = 1 << 18


def repair_in_place(home: Home, thread: StoredThread) -> Repair:
    """Repair the log of a cold thread, under its writer lock.

    The new log appears at once and complete, with the mode and the modification time of the old
    one. A process that is killed on the way leaves the one or the other, and the old one in both
    cases. Raises Conflict, CorruptHistory, StoreUnavailable, ThreadNotFound if the log is gone.
    """
    path = existing_path(thread.rollout_path or "")
    if path is None:
        raise ThreadNotFound(thread.id)
    with WriterLock.acquire(home, thread.id):
        check_unused(thread.id, path)
        temporary = f"{plain_path(path)}{_TEMPORARY}"
        try:
            changes = _write(repaired_lines(path, thread), temporary, like=path)
            if not changes:
                return Repair(changes=())
            return Repair(changes=tuple(changes), original=_replace(path, temporary))
        except OSError as error:
            raise unavailable(error, f"cannot repair {path}") from error
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _write(lines: Iterable[RepairedLine], target: str, *, like: str) -> list[RepairedLine]:
    """Write the log to *target*, durably; the lines that changed."""
    changes = []
    with contextlib.suppress(FileNotFoundError):  # of a repair that was killed
        os.unlink(target)
    with open(create_private(target, os.O_WRONLY), "wb", buffering=_BUFFER) as file:
        for line in lines:
            if line.change is not None:
                changes.append(line)
            if line.line is not None:
                file.write(line.line + b"\n")
        file.flush()
        info = os.stat(like)
        os.fchmod(file.fileno(), stat.S_IMODE(info.st_mode))
        # Codex takes the time of the last change from here.
        os.utime(file.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
        os.fsync(file.fileno())
    return changes


def _replace(path: str, temporary: str) -> str:
    """Put *temporary* in the place of *path*; where that is now."""
    folder, plain = os.path.dirname(path), plain_path(path)
    original = _keep(path)
    sync_folder(folder)
    if path == plain:
        os.rename(temporary, plain)
    else:
        try:
            os.link(temporary, plain)  # from here on the plain file counts
        except FileExistsError as error:
            raise InvalidRequest(f"{plain} came into being meanwhile", hint="try again") from error
        os.unlink(path)
    sync_folder(folder)
    return original


def _keep(path: str) -> str:
    """Give the file another name beside its own, under which no release of Codex sees it."""
    for number in itertools.count(1):
        original = f"{path}{ORIGINAL}" if number == 1 else f"{path}{ORIGINAL}.{number}"
        try:
            os.link(path, original)
        except FileExistsError:
            if not os.path.samefile(path, original):  # else: of a repair that was killed
                continue
        return original
    raise AssertionError
