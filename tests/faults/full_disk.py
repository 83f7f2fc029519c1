"""What a store does on a full disk. Run as a program by ``test_full_disk.py``:

``full_disk.py HOME tmpfs`` mounts a disk of its own (in a name space of its own) and fills it;
``full_disk.py HOME limit`` lets no file grow beyond a size instead, where that may not be done.
Prints what was acknowledged and what went wrong, as JSON.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from threadstore import (
    GitInfo,
    GitInfoPatch,
    LiveThread,
    NewThread,
    StoredThread,
    StoreUnavailable,
    ThreadManager,
    ThreadMetadataPatch,
    ThreadQuery,
    open_store,
)
from threadstore.manager import ThreadHandle
from threadstore.testing import items

EVERYTHING = ThreadQuery(archived=None, limit=1000)
LONG = "after" * 4_000
_SIZE = 4 << 20
_LIMIT = 400_000
"""Bytes; more than the databases have before the disk is full."""


class Disk:
    """A disk that can be full and have room again."""

    def __init__(self, home: Path, kind: str) -> None:
        self._ballast = home.parent / "ballast"
        self._is_tmpfs = kind == "tmpfs"
        home.parent.mkdir(exist_ok=True)
        if self._is_tmpfs:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "none", str(home.parent)]
            subprocess.run(mount, check=True)

    def fill(self, keep: int = 0) -> None:
        """No room but *keep* bytes."""
        if not self._is_tmpfs:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT if keep else 1, hard))
            return
        with self._ballast.open("ab", buffering=0) as file:
            free = os.statvfs(self._ballast.parent)
            left = free.f_bavail * free.f_frsize - keep
            while left > 0:
                left -= file.write(b"x" * min(left, 4096))

    def make_room(self) -> None:
        """Plenty of room."""
        if self._is_tmpfs:
            self._ballast.unlink()
        else:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def content(home: Path) -> dict[str, bytes]:
    """Every file that counts."""
    kept = [*home.glob("*sessions/**/*"), home / "session_index.jsonl"]
    return {str(path): path.read_bytes() for path in kept if path.is_file()}


async def refused(call: Callable[[], Awaitable[Any]]) -> str:
    """The hint of the refusal; raises if there was none."""
    try:
        await call()
    except StoreUnavailable as error:
        return f"{error} {error.hint}"
    raise AssertionError("it was done on a full disk")


def differences(one: StoredThread, other: StoredThread) -> set[str]:
    """The fields that are not equal; times may be those of the file."""
    names = {*StoredThread.__struct_fields__} - {"updated_at", "recency_at"}
    return {name for name in names if getattr(one, name) != getattr(other, name)}


async def append_until_refused(live: ThreadHandle) -> tuple[int, str]:
    """How many messages there are then, and the hint."""
    count = 1
    while count < 10_000:
        try:
            await live.append_items([items.agent_message(f"{count} " + "x" * 9_000)] * 2)
        except StoreUnavailable as error:
            return count, f"{error} {error.hint}"
        count += 2
    raise AssertionError("the disk is never full")


async def main(home: Path, kind: str) -> dict[str, Any]:
    """Fill the disk in the middle of the work, look, make room, go on."""
    disk = Disk(home, kind)
    said: dict[str, Any] = {}
    async with open_store(f"local:{home}") as store, ThreadManager(store) as manager:
        cold = await LiveThread.create(store, NewThread(cwd=""))
        await cold.append_items([items.user_message("cold")])
        await cold.update_metadata(ThreadMetadataPatch(name="before"))
        await cold.shutdown()
        live = await manager.create(NewThread(cwd=""))
        await live.append_items([items.user_message("0")])

        disk.fill(keep=100_000)
        count, said["append"] = await append_until_refused(live)
        disk.fill()
        history = await store.load_history(live.id)
        assert len(history.items) == 1 + count  # and the header
        assert history.damage == ()

        before, stored = content(home), await store.read_thread(cold.id)
        edits = {  # too large for what is left in the last block of a file
            "name": ThreadMetadataPatch(name=LONG),
            "git": ThreadMetadataPatch(git=GitInfoPatch(branch=LONG)),
        }
        for word, patch in edits.items():
            edit = functools.partial(manager.update_thread_metadata, cold.id, patch)
            said[word] = await refused(edit)
        new = await manager.create(NewThread(cwd=""))
        said["new"] = await refused(lambda: new.append_items([items.user_message("x" * 5_000)]))
        assert content(home) == before
        now = await store.read_thread(cold.id)
        assert differences(stored, now) == set()
        page = await store.list_threads(EVERYTHING)
        assert {thread.id for thread in page.items} == {cold.id, live.id}
        (found,) = (await store.list_threads(ThreadQuery(search_term="BEFORE"))).items
        assert found.id == cold.id
        async with open_store(f"local:{home}") as other:  # reading works, for newcomers too
            page = await other.list_threads(EVERYTHING)
            assert {thread.id for thread in page.items} == {cold.id, live.id}
            assert (await other.read_thread(cold.id)).name == "before"

        disk.make_room()
        await live.append_items([items.agent_message(str(count))])
        await new.append_items([items.user_message("new")])
        edits["memory"] = ThreadMetadataPatch(memory_mode="disabled")
        for patch in edits.values():
            await manager.update_thread_metadata(cold.id, patch)
        await manager.archive(cold.id)
    async with open_store(f"local:{home}") as store:
        history = await store.load_history(live.id)
        numbers = [int(item.payload["message"].split(" ")[0]) for item in history.items[1:]]
        assert numbers == [0, *(n for n in range(1, count, 2) for _ in "ab"), count]
        after = await store.read_thread(cold.id)
        assert (after.name, after.memory_mode, after.archived) == (LONG, "disabled", True)
        assert after.git == GitInfo(branch=LONG)
        assert len((await store.list_threads(EVERYTHING)).items) == 3
    return said


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))))
