"""What is known of a long log is not read again."""

from __future__ import annotations

import os
from pathlib import Path

from tests.stores.local.homes import CodexHome, header

from threadstore.factory import open_store
from threadstore.ids import new_thread_id
from threadstore.metadata import GitInfoPatch, MetadataOrigin, ThreadMetadataPatch
from threadstore.testing import items

BRANCH = ThreadMetadataPatch(git=GitInfoPatch(branch="other"))


def long_thread(home: CodexHome) -> tuple[str, str, int]:
    """Its id, its file and its number of lines."""
    thread_id = new_thread_id()
    lines = [header(thread_id), *items.turn("t1", "fix it") * 40]
    return thread_id, home.write(lines, thread_id).path, len(lines)


def join_two_lines(path: str) -> None:
    """Change the middle of a file behind everybody's back: whoever counts its lines finds one
    less."""
    before = os.stat(path)
    data = bytearray(Path(path).read_bytes())
    data[data.index(b"\n", len(data) // 2)] = ord(" ")
    with open(path, "r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


async def test_a_resumed_log_is_not_counted_again(tmp_path: Path) -> None:
    thread_id, path, count = long_thread(CodexHome(tmp_path))
    async with open_store(f"local:{tmp_path}") as store:
        await store.list_threads()
        join_two_lines(path)
        await store.resume_thread(thread_id)
        receipt = await store.append_items(thread_id, [items.agent_message("done")])
        assert receipt.position == count + 1


async def test_neither_an_edit_nor_the_next_read_goes_through_the_log(tmp_path: Path) -> None:
    thread_id, path, count = long_thread(CodexHome(tmp_path))
    async with open_store(f"local:{tmp_path}") as store:
        await store.list_threads()
        join_two_lines(path)
        await store.update_thread_metadata(thread_id, BRANCH, origin=MetadataOrigin.EXPLICIT)
        thread = await store.read_thread(thread_id)
        assert thread.git is not None
        assert thread.git.branch == "other"
        await store.resume_thread(thread_id)
        receipt = await store.append_items(thread_id, [items.agent_message("done")])
        assert receipt.position == count + 2


async def test_a_log_that_was_rewritten_is_counted(tmp_path: Path) -> None:
    thread_id, path, count = long_thread(CodexHome(tmp_path))
    async with open_store(f"local:{tmp_path}") as store:
        await store.list_threads()
        join_two_lines(path)
        os.utime(path)
        await store.resume_thread(thread_id)
        receipt = await store.append_items(thread_id, [items.agent_message("done")])
        assert receipt.position == count


async def test_names_that_others_give_meanwhile_are_seen(tmp_path: Path) -> None:
    home = CodexHome(tmp_path)
    ours, theirs = home.thread(), home.thread()
    home.name(theirs, "before")
    async with open_store(f"local:{tmp_path}") as store:
        for number in range(6):
            name = ThreadMetadataPatch(name=f"ours {number}")
            await store.update_thread_metadata(ours, name, origin=MetadataOrigin.EXPLICIT)
            if number % 2:
                home.name(theirs, f"theirs {number}")
            wanted = {
                ours: f"ours {number}",
                theirs: "before" if not number else f"theirs {number - 1 + number % 2}",
            }
            assert {t.id: t.name for t in (await store.list_threads()).items} == wanted
            assert {i: (await store.read_thread(i)).name for i in wanted} == wanted
    async with open_store(f"local:{tmp_path}") as store:
        assert {t.id: t.name for t in (await store.list_threads()).items} == wanted
