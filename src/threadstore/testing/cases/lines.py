"""Exact copies: lines go in and come out byte for byte."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from threadstore.errors import Conflict, InvalidRequest, ThreadNotFound
from threadstore.history.items import RolloutItem
from threadstore.metadata import HistoryBase, NewThread
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, check_error, unknown_id
from threadstore.testing.harness import Corruption, StoreHarness

__all__ = ["ForkLineTests", "LineTests"]

_NO_LINES: Final[dict[str, Any]] = {
    "none": None,
    "bytes alone": b"{}",
    "a text": "{}",
    "a set": {b"{}"},
    "a text inside": [b"{}", "{}"],
    "an item inside": [RolloutItem("event_msg", {"type": "x"})],
    "a newline inside": [b"{}", b"{\n}"],
    "a newline after": [b"{}\n"],
}


def _header(thread_id: str, mode: str = "legacy") -> bytes:
    payload = {"id": thread_id, "cwd": "/elsewhere", "history_mode": mode, "n": 1.50}
    return json.dumps(
        {"timestamp": "2026-01-01T00:00:00Z", "type": "session_meta", "payload": payload}
    ).encode()


def _lines(thread_id: str) -> list[bytes]:
    """A log that no program of today would write: blank, damaged and foreign lines."""
    return [
        _header(thread_id),
        b"",
        b'{ "timestamp":"2026-01-01T00:00:01Z" , "type":"event_msg","payload":{"type":"novel"} }',
        StoreHarness.GARBAGE,
        b"  ",
        StoreHarness.INVALID_UTF8_LINE,
        b'{"type":"message","role":"user","content":[]}\r',
        b"\x00\xff",
    ]


async def _raw(store: ThreadStore, thread_id: str) -> list[bytes]:
    data = b"".join([chunk async for chunk in store.raw_history(thread_id)])
    return data.split(b"\n")[:-1] if data.endswith(b"\n") else data.split(b"\n")


class LineTests(Cases):
    """``append_lines``, and ``raw_history`` of what it wrote."""

    async def test_lines_come_back_byte_for_byte(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        lines = _lines(thread.id)
        first = await store.append_lines(thread.id, lines[:3], expected_position=0)
        assert first.position == 3
        rest = await store.append_lines(thread.id, lines[3:], expected_position=3)
        assert rest.position == len(lines)
        assert rest.metadata == "none"
        assert harness.raw_history(thread.id) == lines
        assert await _raw(store, thread.id) == lines
        await store.shutdown_thread(thread.id)
        assert await _raw(store, thread.id) == lines

    async def test_no_header_is_added_and_none_is_needed(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.append_lines(thread.id, [StoreHarness.GARBAGE])
        await store.append_lines(thread.id, [items.user_message("x").encode("2026-01-01", None)])
        assert len(harness.raw_history(thread.id)) == 2

    async def test_damaged_and_blank_lines_cost_themselves(self, store: ThreadStore) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        lines = _lines(thread.id)
        await store.append_lines(thread.id, lines)
        loaded = await store.load_history(thread.id)
        assert [item.line() for item in loaded.items] == [lines[n] for n in (0, 2, 5, 6)]
        assert [(line.position, line.raw) for line in loaded.damage] == [
            (4, lines[3]),
            (8, lines[7]),
        ]

    async def test_no_lines_change_nothing(self, store: ThreadStore, harness: StoreHarness) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        assert (await store.append_lines(thread.id, [])).position == 0
        assert harness.traces(thread.id) == []
        assert [chunk async for chunk in store.raw_history(thread.id)] == []

    async def test_lines_need_the_position_that_was_expected(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        with pytest.raises(Conflict):
            await store.append_lines(thread.id, [b"{}"], expected_position=1)
        assert harness.traces(thread.id) == []
        await store.append_lines(thread.id, [_header(thread.id)])
        for wrong in (0, 2):
            with pytest.raises(Conflict) as caught:
                await store.append_lines(thread.id, [b"{}"], expected_position=wrong)
            check_error(caught.value)
        assert harness.raw_history(thread.id) == [_header(thread.id)]

    async def test_lines_need_a_writer(self, store: ThreadStore, harness: StoreHarness) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.append_lines(thread.id, [_header(thread.id)])
        await store.shutdown_thread(thread.id)
        for thread_id in (thread.id, unknown_id()):
            with pytest.raises(ThreadNotFound) as caught:
                await store.append_lines(thread_id, [b"{}"])
            check_error(caught.value)
        assert harness.raw_history(thread.id) == [_header(thread.id)]

    @pytest.mark.parametrize("what", _NO_LINES)
    async def test_only_lines_are_lines(
        self, store: ThreadStore, harness: StoreHarness, what: str
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        with pytest.raises(InvalidRequest) as caught:
            await store.append_lines(thread.id, _NO_LINES[what])
        check_error(caught.value)
        assert harness.traces(thread.id) == []

    @pytest.mark.parametrize("position", [-1, True, 1.0, "1"])
    async def test_only_a_position_is_expected(self, store: ThreadStore, position: Any) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        with pytest.raises(InvalidRequest) as caught:
            await store.append_lines(thread.id, [b"{}"], expected_position=position)
        check_error(caught.value)

    async def test_ordinals_are_kept_and_the_next_one_follows_the_last(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo", history_mode="paginated"))
        header = RolloutItem.parse(_header(thread.id, "paginated")).encode("2026-01-01", 5)
        lines = [header, items.unknown_item().encode("2026-01-01", 9), b"", StoreHarness.GARBAGE]
        await store.append_lines(thread.id, lines)
        await store.append_items(thread.id, [items.unknown_item()])
        await store.shutdown_thread(thread.id)
        await store.resume_thread(thread.id)
        await store.append_items(thread.id, [items.unknown_item()])
        stored = harness.raw_history(thread.id)
        assert stored[:4] == lines
        assert [json.loads(line)["ordinal"] for line in stored[4:]] == [10, 11]

    async def test_lines_and_items_follow_each_other(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.append_items(thread.id, [items.agent_message("one")])
        receipt = await store.append_lines(thread.id, [b"", b"no JSON"], expected_position=2)
        assert receipt.position == 4
        await store.append_items(thread.id, [items.agent_message("two")], expected_position=4)
        assert harness.raw_history(thread.id)[2:4] == [b"", b"no JSON"]

    async def test_an_export_of_a_damaged_log_is_that_log(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.append_items(thread.id, [items.agent_message("one")])
        await store.shutdown_thread(thread.id)
        for how in (
            Corruption.BLANK_LINE,
            Corruption.GARBAGE_LINE,
            Corruption.INVALID_UTF8,
            Corruption.TORN_TAIL,
        ):
            harness.corrupt(thread.id, how)
        assert await _raw(store, thread.id) == harness.raw_history(thread.id)

    async def test_a_thread_may_have_begun_elsewhere_and_earlier(self, store: ThreadStore) -> None:
        other = await store.create_thread(NewThread(cwd="/repo"))
        began = other.created_at.replace(year=2024)
        thread = await store.create_thread(NewThread(cwd="/repo", created_at=began))
        assert (thread.created_at, thread.recency_at) == (began, began)
        with pytest.raises(InvalidRequest):
            NewThread(cwd="/repo", created_at=began.replace(tzinfo=None))


class ForkLineTests(Cases):
    """What forks by reference have of their own, where declared."""

    async def test_an_export_of_a_fork_has_its_own_lines_only(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        if not store.capabilities.fork_by_reference:
            pytest.skip("the store does not fork by reference")
        source = await store.create_thread(NewThread(cwd="/repo", history_mode="paginated"))
        await store.append_items(source.id, [items.user_message("x"), items.agent_message("y")])
        base = HistoryBase(thread_id=source.id, position=2)
        new = NewThread(cwd="/repo", history_mode="paginated", history_base=base)
        fork = await store.create_thread(new)
        await store.append_items(fork.id, [items.agent_message("own")])
        own = harness.raw_history(fork.id)
        assert len(own) == 2
        assert await _raw(store, fork.id) == own
        assert await store.history_base(fork.id) == base
        assert await store.history_base(source.id) is None
        said = json.loads(own[0])["payload"]["history_base"]
        inherited = harness.raw_history(source.id)[:2]
        assert said == {
            "thread_id": source.id,
            "end_ordinal_exclusive": 2,
            "end_byte_offset": sum(len(line) + 1 for line in inherited),
        }
        further = HistoryBase(thread_id=fork.id, position=1)  # within what the fork inherits
        third = await store.create_thread(
            NewThread(cwd="/repo", history_mode="paginated", history_base=further)
        )
        await store.persist_thread(third.id)
        said = json.loads(harness.raw_history(third.id)[0])["payload"]["history_base"]
        assert (said["thread_id"], said["end_ordinal_exclusive"]) == (source.id, 1)

    async def test_a_thread_that_is_unknown_stands_on_nothing(self, store: ThreadStore) -> None:
        with pytest.raises(ThreadNotFound) as caught:
            await store.history_base(unknown_id())
        check_error(caught.value)

    async def test_a_fork_is_copied_line_by_line(
        self, store: ThreadStore, harness: StoreHarness
    ) -> None:
        if not store.capabilities.fork_by_reference:
            pytest.skip("the store does not fork by reference")
        source = await store.create_thread(NewThread(cwd="/repo", history_mode="paginated"))
        await store.append_items(source.id, [items.user_message("x"), items.agent_message("y")])
        new = NewThread(
            cwd="/repo",
            history_mode="paginated",
            history_base=HistoryBase(thread_id=source.id, position=2),
        )
        fork = await store.create_thread(new)
        await store.append_items(fork.id, [items.agent_message("own")])
        own = harness.raw_history(fork.id)
        await store.shutdown_thread(fork.id)
        await store.delete_thread(fork.id)
        await store.create_thread(
            NewThread(cwd="", id=fork.id, history_mode="paginated", history_base=new.history_base)
        )
        receipt = await store.append_lines(fork.id, own, expected_position=2)
        assert receipt.position == 4
        await store.append_items(fork.id, [items.agent_message("more")])
        assert json.loads(harness.raw_history(fork.id)[-1])["ordinal"] == 4
        assert len((await store.load_history(fork.id)).items) == 5
