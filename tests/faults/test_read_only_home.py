"""A home in which we may read and not write."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from threadstore import (
    LiveThread,
    MetadataOrigin,
    NewThread,
    ThreadMetadataPatch,
    open_store,
)
from threadstore.testing import items

PROGRAM = """
import asyncio, json, os, sys
from threadstore import *
from threadstore.cli import main

home, active, archived = sys.argv[1:]
os.environ["CODEX_HOME"] = home

async def refused(call):
    try:
        await call
    except StoreUnavailable as error:
        return f"{error} {error.hint}"

async def look():
    async with open_store(f"local:{home}") as store:
        page = await store.list_threads(ThreadQuery(archived=None))
        found = await store.list_threads(ThreadQuery(search_term="NAMED"))
        history = await store.load_history(active)
        raw = b"".join([chunk async for chunk in store.raw_history(archived)])
        thread = await store.read_thread(active)
        name = ThreadMetadataPatch(name="new")
        git = ThreadMetadataPatch(git=GitInfoPatch(branch="new"))
        explicit = MetadataOrigin.EXPLICIT
        return {
            "listed": sorted(thread.id for thread in page.items),
            "found": [thread.id for thread in found.items],
            "lines": [len(history.items), raw.count(b"\\n")],
            "thread": [thread.name, thread.memory_mode, thread.preview],
            "findings": [finding.reason for finding in await store.inspect()],
            "refused": [
                await refused(store.resume_thread(active)),
                await refused(store.create_thread(NewThread(cwd=""))),
                await refused(store.update_thread_metadata(active, name, origin=explicit)),
                await refused(store.update_thread_metadata(active, git, origin=explicit)),
                await refused(store.archive_thread(active)),
                await refused(store.unarchive_thread(archived)),
                await refused(store.delete_thread(active)),
            ],
        }

async def warm_up():  # the user to be may not read the interpreter's folders
    async with open_store(f"local:{home}") as store:
        await store.inspect()

asyncio.run(warm_up())
for words in (["list"], ["show", active], ["export", active], ["doctor"]):
    main(words)
for name in ("threadstore_1.sqlite", "threadstore_1.sqlite-wal", "threadstore_1.sqlite-shm"):
    if os.path.exists(f"{home}/{name}"):
        os.unlink(f"{home}/{name}")
for folder, _, names in os.walk(home):
    for entry in names:
        os.chmod(f"{folder}/{entry}", 0o444)
    os.chmod(folder, 0o555)
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
said = asyncio.run(look())
said["codes"] = [main(words) for words in (["list"], ["show", active], ["export", active])]
said["doctor"] = main(["doctor"])
sys.stdout.flush()
print("\\n" + json.dumps(said))
"""


SKIPPED = re.compile("threadstore_1|-shm$")


async def make_home(home: Path) -> tuple[str, str]:
    """An active thread with a name and an archived one."""
    async with open_store(f"local:{home}") as store:
        ids = []
        for text in ("hello", "old"):
            live = await LiveThread.create(store, NewThread(cwd=""))
            await live.append_items(items.turn("t1", text))
            await live.shutdown()
            ids.append(live.id)
        patch = ThreadMetadataPatch(name="named", memory_mode="disabled")
        await store.update_thread_metadata(ids[0], patch, origin=MetadataOrigin.EXPLICIT)
        await store.archive_thread(ids[1])
    return ids[0], ids[1]


def content(home: Path) -> dict[Path, bytes]:
    """Every file but our own index, and what SQLite keeps for locking."""
    files = [path for path in home.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if not SKIPPED.search(path.name)}


async def test_everything_that_only_reads_works_without_the_right_to_write(
    public_folder: str,
) -> None:
    home = Path(public_folder, "home")
    active, archived = await make_home(home)
    before = content(home)
    command = [sys.executable, "-c", PROGRAM, str(home), active, archived]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: ASYNC221
    finally:
        for folder, _, _ in os.walk(home):
            os.chmod(folder, 0o755)
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    refused = said.pop("refused")
    assert all("ermission" in (text or "") for text in refused), refused
    findings = said.pop("findings")
    assert all("ermission" in reason for reason in findings), findings
    assert said == {
        "listed": sorted([active, archived]),
        "found": [active],
        "lines": [9, 8],
        "thread": ["named", "disabled", "hello"],
        "codes": [0, 0, 0],
        "doctor": 5,
    }
    assert content(home) == before
