"""Damaged and old logs written again: what changes is said, what is good stays byte for byte."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.golden_homes import Golden
from tests.stores.local.homes import CodexHome, encode, header

from threadstore.errors import Conflict, CorruptHistory, ThreadNotFound
from threadstore.factory import open_store
from threadstore.history.items import RolloutItem
from threadstore.history.turns import build_turns
from threadstore.ids import new_thread_id
from threadstore.live import LiveThread
from threadstore.manager import ThreadManager
from threadstore.protocol.codex_thread import protocol_turn
from threadstore.store import Repair, ThreadStore
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.locks import WriterLock
from threadstore.stores.local.repair_file import repair_in_place
from threadstore.testing import items


@pytest.fixture
def home(tmp_path: Path) -> CodexHome:
    return CodexHome(tmp_path)


def store_of(home: CodexHome) -> ThreadStore:
    return open_store(f"local:{home.folder}")


async def repair(home: CodexHome, thread_id: str) -> Repair:
    """Repaired in place; its metadata are as before."""
    async with store_of(home) as store:
        was = await store.read_thread(thread_id)
        done = await store.repair_thread(thread_id)
        assert await store.read_thread(thread_id) == was
        assert not (await store.repair_thread(thread_id)).changes
        left = {finding.thread_id for finding in await store.inspect() if finding.repairable}
        assert thread_id not in left
    return done


def changes(done: Repair) -> list[tuple[int, str | None]]:
    return [(change.number, change.change) for change in done.changes]


async def test_a_sound_log_is_left_alone(home: CodexHome) -> None:
    thread_id = home.thread()
    before = sorted(os.listdir(os.path.dirname(home.path(thread_id))))
    assert await repair(home, thread_id) == Repair(changes=())
    assert sorted(os.listdir(os.path.dirname(home.path(thread_id)))) == before


async def test_one_bad_byte_costs_one_character_and_the_original_stays(home: CodexHome) -> None:
    thread_id = home.thread("hello")
    path = Path(home.path(thread_id))
    log = path.read_bytes().replace(b"hello", b"hel\xfflo", 1)
    path.write_bytes(log)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    os.chmod(path, 0o640)
    done = await repair(home, thread_id)
    assert len(done.changes) == 1
    assert done.original == f"{path}.original"
    assert Path(done.original).read_bytes() == log
    assert path.read_bytes() == log.replace(b"\xff", "\ufffd".encode())
    assert (path.stat().st_mtime, path.stat().st_mode & 0o777) == (1_700_000_000, 0o640)


async def test_a_kept_original_is_never_overwritten(home: CodexHome) -> None:
    thread_id = home.thread()
    path = Path(home.path(thread_id))
    for number, name in enumerate((".original", ".original.2", ".original.3")):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        log = path.read_bytes()
        done = await repair(home, thread_id)
        assert changes(done) == [(1, "byte order mark taken out")]
        assert done.original == f"{path}{name}", number
        assert Path(done.original).read_bytes() == log
    async with store_of(home) as store:
        assert [found.code for found in await store.inspect()] == ["kept_original"] * 3


@pytest.mark.parametrize(
    ("fields", "now"),
    [
        ({"history_mode": "novel"}, {"history_mode": "legacy"}),
        ({"cwd": None}, {"cwd": "/repo"}),
        ({"thread_source": 5, "forked_from_id": "x"}, {}),
        ({"multi_agent_version": "v9"}, {}),
        ({"base_instructions": "text", "git": []}, {}),
    ],
)
async def test_a_header_keeps_every_field_but_the_bad_ones(
    home: CodexHome, fields: dict[str, Any], now: dict[str, Any]
) -> None:
    thread_id = new_thread_id()
    good = {"later": {"number": 1.10, "text": "é"}}
    home.write([header(thread_id, **fields, **good), *items.turn("t", "x")], thread_id)
    done = await repair(home, thread_id)
    assert [number for number, _ in changes(done)] == [1]
    first = Path(home.path(thread_id)).read_bytes().splitlines()[0]
    payload = json.loads(first)["payload"]
    expected = header(thread_id, **fields, **good).payload | now
    assert payload == {
        key: value for key, value in expected.items() if key in now or key not in fields
    }
    assert b'"number":1.1' in first


async def test_a_missing_header_is_added_before_everything_else(home: CodexHome) -> None:
    thread_id = new_thread_id()
    file = home.write([b"{torn", *items.turn("t", "x")], thread_id)
    log = Path(file.path).read_bytes()
    done = await repair(home, thread_id)
    assert [change.number for change in done.changes] == [0]
    first, _, rest = Path(file.path).read_bytes().partition(b"\n")
    assert rest == log
    assert RolloutItem.parse(first).payload["id"] == thread_id


async def test_a_header_that_comes_late_is_copied_to_the_front(home: CodexHome) -> None:
    thread_id = new_thread_id()
    own = header(thread_id, base_instructions={"text": "Be brief."})
    file = home.write([items.user_response("early"), own, *items.turn("t", "x")], thread_id)
    log = Path(file.path).read_bytes()
    await repair(home, thread_id)
    first, _, rest = Path(file.path).read_bytes().partition(b"\n")
    assert (rest, first) == (log, log.splitlines()[1])


async def test_a_copied_header_behind_a_torn_one_is_not_taken_for_it(home: CodexHome) -> None:
    thread_id, other = new_thread_id(), new_thread_id()
    file = home.write([b"{", header(other), *items.turn("t", "x")], thread_id)
    await repair(home, thread_id)
    lines = Path(file.path).read_bytes().splitlines()
    assert [RolloutItem.parse(line).payload["id"] for line in (lines[0], lines[2])] == [
        thread_id, other
    ]  # fmt: skip


async def test_lines_without_a_time_get_that_of_the_line_before(home: CodexHome) -> None:
    thread_id = home.thread()
    path = Path(home.path(thread_id))
    log = path.read_bytes()
    last = RolloutItem.parse(log.splitlines()[-1])
    path.write_bytes(log + b'{"type":"event_msg","payload":{"type":"x","n":1.50}}\n')
    done = await repair(home, thread_id)
    assert [change for _, change in changes(done)] == ["given a timestamp"]
    added = path.read_bytes()[len(log) :]
    assert added.endswith(b'"type":"event_msg","payload":{"type":"x","n":1.50}}\n')
    assert RolloutItem.parse(added).timestamp == last.timestamp


async def test_compressed_data_that_break_off_become_a_plain_log(home: CodexHome) -> None:
    thread_id = new_thread_id()
    log = encode([header(thread_id), *items.turn("t", "x")])
    broken = zstd.compress(log) + zstd.compress(b"lost")[:-2]
    path = home.path(thread_id)
    home.write(broken, path=f"{path}.zst")
    done = await repair(home, thread_id)
    assert done.changes[-1].line is None
    assert done.original == f"{path}.zst.original"
    assert Path(done.original).read_bytes() == broken
    assert Path(path).read_bytes().startswith(log)
    assert not os.path.exists(f"{path}.zst")


async def test_where_nothing_can_be_read_there_is_nothing_to_repair(home: CodexHome) -> None:
    thread_id = new_thread_id()
    home.write(b"{\n\xff\n", thread_id)
    async with store_of(home) as store:
        with pytest.raises(CorruptHistory):
            await store.repair_thread(thread_id)
        with pytest.raises(CorruptHistory):
            _ = [line async for line in store.repaired_history(thread_id)]
        with pytest.raises(ThreadNotFound):
            await store.repair_thread(new_thread_id())


async def test_repaired_history_is_what_a_repair_in_place_writes(home: CodexHome) -> None:
    thread_id = new_thread_id()
    file = home.write([header(thread_id, source=5), b"{\xff", *items.turn("t", "x")], thread_id)
    log = Path(file.path).read_bytes()
    async with store_of(home) as store:
        lines = [line async for line in store.repaired_history(thread_id)]
        assert Path(file.path).read_bytes() == log
        done = await store.repair_thread(thread_id)
    assert done.changes == tuple(line for line in lines if line.change is not None)
    written = b"".join(line.line + b"\n" for line in lines if line.line is not None)
    assert Path(file.path).read_bytes() == written


async def test_nobody_else_may_be_writing(home: CodexHome) -> None:
    thread_id = home.thread(source=5)
    async with store_of(home) as store:
        live = await LiveThread.resume(store, thread_id)
        with pytest.raises(Conflict):
            await store.repair_thread(thread_id)
        await live.shutdown()
        with WriterLock.acquire(home.home, thread_id), pytest.raises(Conflict):
            await store.repair_thread(thread_id)
        assert (await store.repair_thread(thread_id)).changes


def test_a_killed_repair_leaves_one_log_or_the_other_and_the_old_one_always(
    home: CodexHome,
) -> None:
    thread_id = new_thread_id()
    lines = [header(thread_id, source=5), *items.turn("t", "x" * 2000) * 40]
    damaged = encode(lines) + b"\xff\n"
    path = Path(home.write(damaged, thread_id).path)
    thread = home.derive(home.write(damaged, thread_id)).thread
    assert thread is not None
    repair_in_place(home.home, thread)
    repaired = path.read_bytes()
    seen = set()
    for attempt in range(40):
        for kept in path.parent.glob("*.original*"):
            kept.unlink()
        path.unlink(missing_ok=True)
        path.write_bytes(damaged)
        child = os.fork()
        if child == 0:
            repair_in_place(home.home, thread)
            os._exit(0)
        time.sleep(attempt * 0.0005)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        now = path.read_bytes()
        seen.add(now)
        assert now in (damaged, repaired)
        originals = [kept.read_bytes() for kept in path.parent.glob("*.original*")]
        assert now == damaged or originals == [damaged]
        repair_in_place(home.home, thread)
        assert path.read_bytes() == repaired
        assert [kept.read_bytes() for kept in path.parent.glob("*.original*")] == [damaged]
    assert not list(path.parent.glob("*.tmp"))
    assert damaged in seen


# Old forms


async def test_bare_lines_of_029_say_the_same_before_and_after(tmp_path: Path) -> None:
    golden = Golden("0.29.0")
    folder = golden.unpack(tmp_path)
    home = CodexHome(folder)
    for example, thread_id in golden.examples.items():
        before = await _said(home, thread_id)
        assert before[0] == golden.prompts[example]
        await repair(home, thread_id)
        assert await _said(home, thread_id) == before


async def test_bare_lines_of_029_are_resumed_by_us(tmp_path: Path) -> None:
    golden = Golden("0.29.0")
    folder = golden.unpack(tmp_path)
    home = CodexHome(folder)
    thread_id = golden.examples["exec"]
    before = await _said(home, thread_id)
    async with store_of(home) as store, ThreadManager(store) as manager:
        was = await store.read_thread(thread_id)
        live = await manager.resume(thread_id)
        await live.append_items(items.turn("t2", "and now?", "now this"))
        await manager.close()
        now = await store.read_thread(thread_id)
        assert (now.preview, now.cwd, now.created_at) == (was.preview, was.cwd, was.created_at)
    assert await _said(home, thread_id) == [*before, "and now?", "now this"]
    await repair(home, thread_id)
    assert await _said(home, thread_id) == [*before, "and now?", "now this"]


async def _said(home: CodexHome, thread_id: str) -> list[str]:
    """What was said, in the form of Codex's protocol."""
    async with store_of(home) as store:
        history = await store.load_history(thread_id)
    return [
        item.get("text") or item["content"][0]["text"]
        for turn in build_turns(history.items)
        for item in protocol_turn(turn)["items"]
        if item["type"] in ("userMessage", "agentMessage")
    ]
