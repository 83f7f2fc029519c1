"""Following a log that other programs write, move, compress and revert."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.faults.test_growing import cold_thread, writer
from tests.faults.test_moving import move
from tests.stores.local.state_helpers import execute

from threadstore import (
    DamagedLine,
    MetadataOrigin,
    NewThread,
    RolloutItem,
    ThreadMetadataPatch,
    ThreadStore,
    open_store,
)
from threadstore.ids import new_thread_id
from threadstore.stores.local.compression import materialise, zstd
from threadstore.testing import items

Watch = AsyncGenerator[RolloutItem | DamagedLine, None]
PATIENCE = 30.0
"""Seconds until something has to come."""
QUIET = 0.3
"""Seconds, several looks, in which nothing may come."""


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ThreadStore]:
    async with open_store(f"local:{tmp_path}/home") as store:
        yield store


class Follower:
    """Reads one stream, and can tell that nothing comes without breaking it."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._step: asyncio.Future[RolloutItem | DamagedLine] | None = None

    async def next(self) -> RolloutItem | DamagedLine:
        step, self._step = self._step or asyncio.ensure_future(anext(self._watch)), None
        async with asyncio.timeout(PATIENCE):
            return await step

    async def positions(self, count: int) -> list[int | None]:
        return [(await self.next()).position for _ in range(count)]

    async def is_quiet(self) -> bool:
        if self._step is None:
            self._step = asyncio.ensure_future(anext(self._watch))
        done, _ = await asyncio.wait((self._step,), timeout=QUIET)
        return not done

    async def close(self) -> None:
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait((self._step,))
        await self._watch.aclose()


def message(text: object) -> RolloutItem:
    return items.agent_message(str(text))


def line(text: object) -> bytes:
    return message(text).encode("2026-05-04T03:02:01.000Z") + b"\n"


def compress(path: str) -> None:
    """As Codex's worker does it with a thread that nobody writes."""
    packed = Path(path + ".tmp")
    packed.write_bytes(zstd.compress(Path(path).read_bytes()))
    packed.rename(path + ".zst")
    os.unlink(path)


async def test_half_a_line_waits_for_its_other_half(store: ThreadStore) -> None:
    thread_id, path = await cold_thread(store)
    follower = Follower(store.watch_thread(thread_id))
    assert await follower.positions(2) == [1, 2]
    with writer(path) as other:
        for number in range(3, 6):
            whole = line(number)
            for part in (whole[:1], whole[1:60], whole[60:-2]):
                other.write(part)
                assert await follower.is_quiet()
            other.write(whole[-2:])
            assert await follower.positions(1) == [number]
    await follower.close()


async def test_a_whole_last_line_without_newline_comes_once(store: ThreadStore) -> None:
    thread_id, path = await cold_thread(store)
    follower = Follower(store.watch_thread(thread_id, after=2))
    with writer(path) as other:
        other.write(line("a")[:-1])
        assert await follower.positions(1) == [3]
        assert await follower.is_quiet()
        other.write(b"\n")
        assert await follower.is_quiet()
        other.write(line("b") + line("c")[:9])
        assert await follower.positions(1) == [4]
    await follower.close()


async def test_a_line_that_stays_torn_is_damage_once_a_writer_has_ended_it(
    store: ThreadStore,
) -> None:
    thread_id, path = await cold_thread(store)
    follower = Follower(store.watch_thread(thread_id, after=2))
    with writer(path) as other:
        other.write(line("a")[:20])
    assert await follower.is_quiet()
    await store.resume_thread(thread_id)
    await store.append_items(thread_id, [message("b")])
    damage, item = await follower.next(), await follower.next()
    assert isinstance(damage, DamagedLine)
    assert (damage.position, damage.raw) == (3, line("a")[:20])
    assert isinstance(item, RolloutItem)
    assert (item.position, item.payload["message"]) == (4, "b")
    await follower.close()


async def test_a_torn_line_that_is_taken_away_leaves_no_gap(store: ThreadStore) -> None:
    thread_id, path = await cold_thread(store)
    size = os.path.getsize(path)
    follower = Follower(store.watch_thread(thread_id, after=2))
    with writer(path) as other:
        other.write(line("a")[:20])
        assert await follower.is_quiet()
        os.truncate(path, size)
        assert await follower.is_quiet()
        other.write(line("b"))
        assert await follower.positions(1) == [3]
    await follower.close()


async def test_blank_and_damaged_lines_keep_their_positions(store: ThreadStore) -> None:
    thread_id, path = await cold_thread(store)
    follower = Follower(store.watch_thread(thread_id, after=2))
    with writer(path) as other:
        other.write(b"\n" + line("a") + b"garbage\n\n")
        assert await follower.positions(2) == [4, 5]
        other.write(line("b"))
        assert await follower.positions(1) == [7]
    await follower.close()


async def test_a_log_that_is_moved_while_it_is_written_is_followed(store: ThreadStore) -> None:
    thread_id, path = await cold_thread(store)
    home = path.partition("/sessions/")[0]
    there = f"{home}/archived_sessions/{os.path.basename(path)}"
    os.makedirs(os.path.dirname(there))
    follower = Follower(store.watch_thread(thread_id, after=2))
    with writer(path) as other:
        other.write(line(3))
        assert await follower.positions(1) == [3]
        for number in range(4, 13):
            os.rename(path, there)
            other.write(line(number))
            path, there = there, path
            assert await follower.positions(1) == [number]
    await follower.close()


async def test_a_log_that_another_process_moves_all_the_time_is_followed(
    store: ThreadStore,
) -> None:
    thread_id, path = await cold_thread(store)
    home = path.partition("/sessions/")[0]
    follower = Follower(store.watch_thread(thread_id))
    assert await follower.positions(2) == [1, 2]
    with move(f"local:{home}", thread_id, times=10) as mover:
        while mover.poll() is None:
            assert await follower.is_quiet()
        assert mover.returncode == 0
    await store.resume_thread(thread_id)
    await store.append_items(thread_id, [message("more")])
    assert await follower.positions(1) == [3]
    await follower.close()


async def test_compression_and_its_end_make_no_gap(store: ThreadStore) -> None:
    thread_id, path = await cold_thread(store)
    follower = Follower(store.watch_thread(thread_id))
    assert await follower.positions(2) == [1, 2]
    for position in (3, 4):
        compress(path)
        assert await follower.is_quiet()
        materialise(path)
        assert await follower.is_quiet()
        with writer(path) as other:
            other.write(line(position))
            assert await follower.positions(1) == [position]
    compress(path)
    late = Follower(store.watch_thread(thread_id, after=1))
    assert await late.positions(3) == [2, 3, 4]
    await store.resume_thread(thread_id)
    await store.append_items(thread_id, [message("more")])
    assert await follower.positions(1) == await late.positions(1) == [5]
    await follower.close()
    await late.close()


async def test_a_revert_goes_on_behind_the_last_common_line(
    store: ThreadStore, tmp_path: Path
) -> None:
    thread = await store.create_thread(NewThread(cwd="/repo", history_mode="paginated"))
    thread_id, path = thread.id, thread.rollout_path
    assert path is not None
    await store.append_items(thread_id, [items.response("message", number=n) for n in range(4)])
    await store.shutdown_thread(thread_id)
    patch = ThreadMetadataPatch(name="so that there is a row")
    await store.update_thread_metadata(thread_id, patch, origin=MetadataOrigin.EXPLICIT)
    follower = Follower(store.watch_thread(thread_id))
    assert await follower.positions(5) == [1, 2, 3, 4, 5]
    base = {"thread_id": thread_id, "end_ordinal_exclusive": 3, "end_byte_offset": -1}
    fields: dict[str, Any] = {"history_mode": "paginated", "history_base": base}
    header = items.session_meta(thread_id, created_at=thread.created_at, **fields)
    new = path.removesuffix(".jsonl") + f"_{new_thread_id()}.jsonl"
    stamp = "2026-05-04T03:02:01.000Z"
    said = items.response("message", number=9)
    Path(new).write_bytes(header.encode(stamp, 3) + b"\n" + said.encode(stamp, 4) + b"\n")
    execute(f"{tmp_path}/home/state_5.sqlite", f"UPDATE threads SET rollout_path = '{new}'")
    assert await follower.positions(2) == [4, 5]
    with writer(new) as other:
        other.write(items.response("message", number=10).encode(stamp, 5) + b"\n")
        assert await follower.positions(1) == [6]
    await follower.close()
    history = await store.load_history(thread_id)
    assert [item.position for item in history.items] == [1, 2, 3, 4, 5, 6]


async def test_a_long_log_is_caught_up_with_in_pieces(store: ThreadStore) -> None:
    thread = await store.create_thread(NewThread(cwd="/repo"))
    batch = [message("x" * 100)] * 1_000
    for _ in range(30):
        await store.append_items(thread.id, batch)
    expected = 0
    async with aclosing(store.watch_thread(thread.id)) as watch:
        async for entry in watch:
            expected += 1
            assert entry.position == expected
            if expected == 30_001:
                break


async def test_stopping_closes_every_file(store: ThreadStore) -> None:
    thread_id, _ = await cold_thread(store)
    await store.load_history(thread_id)
    before = set(os.listdir("/proc/self/fd"))
    async with aclosing(store.watch_thread(thread_id)) as watch:
        await anext(watch)
    assert set(os.listdir("/proc/self/fd")) <= before
