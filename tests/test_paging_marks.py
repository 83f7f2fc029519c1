"""Pages of turns read from marks are those of the whole history, whatever it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.golden_homes import LABELS, Golden
from tests.history.scripts import histories

from threadstore import paging
from threadstore.errors import CorruptHistory, ThreadNotFound
from threadstore.factory import open_store
from threadstore.history.items import DamagedLine, History, RolloutItem
from threadstore.history.lines import parse_line, parse_telling
from threadstore.history.plain import PlainTurn
from threadstore.history.turns import StoredTurn, build_turns
from threadstore.ids import new_thread_id
from threadstore.paging import MarkedTurns, RecentMarks
from threadstore.protocol.codex_plain import encode_plain_turn
from threadstore.protocol.codex_thread import protocol_turn

_ID = new_thread_id()
_IDS = st.sampled_from([None, "a", "a", "b", "c", "rollout-3"])
_KEY = st.sampled_from(["x", "y", "z"])


def _event(kind: str, **fields: Any) -> RolloutItem:
    given = {key: value for key, value in fields.items() if value is not None}
    return RolloutItem("event_msg", {"type": kind, **given}, "2026-01-01T00:00:00.000Z")


def _said(role: str) -> RolloutItem:
    content = [{"type": "input_text", "text": role}]
    return RolloutItem("response_item", {"type": "message", "role": role, "content": content})


def _finished(turn_id: str | None, item_id: str) -> RolloutItem:
    return _event("item_completed", turn_id=turn_id, item={"type": "AgentMessage", "id": item_id})


_LINES: st.SearchStrategy[RolloutItem | None] = st.one_of(
    st.builds(_event, st.just("task_started"), turn_id=_IDS, started_at=st.just(7)),
    st.builds(_event, st.just("user_message"), message=_KEY),
    st.builds(_event, st.sampled_from(["task_complete", "turn_aborted"]), turn_id=_IDS),
    st.builds(_event, st.just("agent_message"), message=_KEY, turn_id=_IDS),
    st.builds(_event, st.just("agent_reasoning"), text=_KEY),
    st.builds(_event, st.just("patch_apply_end"), call_id=_KEY, turn_id=_IDS),
    st.builds(_event, st.just("view_image_tool_call"), call_id=_KEY),
    st.builds(_event, st.just("entered_review_mode"), turn_id=_IDS),
    st.builds(_event, st.just("error"), message=_KEY),
    st.builds(_event, st.just("thread_rolled_back"), num_turns=st.integers(0, 5)),
    st.builds(_finished, _IDS, _KEY),
    st.builds(_said, st.sampled_from(["user", "developer", "assistant"])),
    st.builds(RolloutItem, st.sampled_from(["compacted", "turn_context"]), st.just({})),
    st.builds(RolloutItem, st.just("session_meta"), st.sampled_from([{}, {"id": "x", "cwd": "/"}])),
    st.none(),  # a line that is damaged
)
_HISTORIES = st.lists(_LINES, max_size=40)


class _Source:
    """A history that grows."""

    def __init__(self, spacing: int) -> None:
        self.turn_marks: paging.Marks | None = RecentMarks(spacing=spacing)
        self.entries: list[RolloutItem | DamagedLine] = []

    def append(self, item: RolloutItem | None) -> None:
        position = len(self.entries) + 1
        if item is None:
            self.entries.append(DamagedLine(position=position, raw=b"{", reason="cut"))
            return
        entry = parse_line(item.line(), position)
        assert entry is not None
        self.entries.append(entry)

    async def iter_history(
        self, _thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        for entry in self.entries[:after:-1] if reverse and after else self.entries[after:]:
            yield entry

    async def history_batches(
        self, thread_id: str, *, after: int = 0, reverse: bool = False, brief: bool = False
    ) -> AsyncIterator[Sequence[RolloutItem | DamagedLine]]:
        async for entry in self.iter_history(thread_id, after=after, reverse=reverse):
            line = entry.line() if isinstance(entry, RolloutItem) else b""
            if not brief or not line or parse_telling([line], 1):
                yield (entry,)

    async def load_history(self, thread_id: str) -> History:
        return History.of(thread_id, self.entries)

    def turns(self) -> list[StoredTurn]:
        return list(build_turns(entry for entry in self.entries if isinstance(entry, RolloutItem)))


async def _walk(source: paging.HistorySource, limit: int, *, down: bool) -> list[StoredTurn]:
    turns: list[StoredTurn] = []
    cursor: str | None = None
    while True:
        page = await paging.list_turns(source, _ID, cursor, limit, descending=down)
        turns += page.items
        cursor = page.next_cursor
        if cursor is None:
            return turns


@settings(max_examples=60, deadline=None)
@given(_HISTORIES, st.integers(1, 3), st.sampled_from([1, 800, 2000]), st.integers(1, 12))
async def test_every_page_is_that_of_the_whole_history_while_it_grows(
    lines: list[RolloutItem | None], limit: int, spacing: int, step: int
) -> None:
    source = _Source(spacing)
    for start in range(0, len(lines), step):
        for line in lines[start : start + step]:
            source.append(line)
        expected = source.turns()
        assert await _walk(source, limit, down=True) == expected[::-1]
        assert await _walk(source, limit, down=False) == expected
        for turn in expected:
            found = await (await MarkedTurns.of(source, _ID)).find(turn.id)
            assert found == next(each for each in expected if each.id == turn.id)


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(1, 3))
@example([], 1)
async def test_every_page_of_a_plausible_history_is_that_of_the_whole(
    items: list[RolloutItem], limit: int
) -> None:
    source = _Source(spacing=1)
    for item in items:
        source.append(item)
        await MarkedTurns.of(source, _ID)
    assert await _walk(source, limit, down=True) == source.turns()[::-1]


@pytest.mark.parametrize("label", LABELS)
async def test_every_page_of_every_golden_home_is_that_of_the_whole(
    label: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    golden = Golden(label)
    home = golden.unpack(tmp_path_factory.mktemp("home"))
    async with open_store(f"local:{home}") as store:
        for thread_id in golden.ids:
            source = _Source(spacing=1)
            source.entries = [entry async for entry in store.iter_history(thread_id)]
            everything, source.entries = source.entries, []
            for entry in everything:
                source.entries.append(entry)
                await MarkedTurns.of(source, _ID)
            assert await _walk(source, 3, down=True) == source.turns()[::-1]
            assert await _walk(source, 2, down=False) == source.turns()


async def test_a_history_that_became_another_one_is_read_anew() -> None:
    source = _Source(spacing=1)
    for turn_id in "abcdef":
        source.append(_event("task_started", turn_id=turn_id))
        source.append(_event("task_complete", turn_id=turn_id))
    assert [turn.id for turn in await _walk(source, 2, down=True)] == list("fedcba")
    entries = source.entries
    source.entries = []
    for turn_id in "abxyz":
        source.append(_event("task_started", turn_id=turn_id))
        source.append(_event("task_complete", turn_id=turn_id))
    assert [turn.id for turn in await _walk(source, 2, down=True)] == list("zyxba")
    source.entries = entries[:3]
    assert [turn.id for turn in await _walk(source, 2, down=True)] == list("ba")


async def test_a_page_reads_no_more_than_it_needs() -> None:
    source = _Source(spacing=1)
    for number in range(1000):
        source.append(_event("task_started", turn_id=f"t{number}"))
        source.append(_event("user_message", message="hello"))
        source.append(_event("task_complete", turn_id=f"t{number}"))
    await paging.list_turns(source, _ID, None, 5, descending=True)
    source.entries[: 3 * 990] = [
        DamagedLine(position=position, raw=b"", reason="not to be read")
        for position in range(1, 3 * 990 + 1)
    ]
    page = await paging.list_turns(source, _ID, None, 5, descending=True)
    assert [turn.id for turn in page.items] == ["t999", "t998", "t997", "t996", "t995"]
    turns = [msgspec.structs.asdict(turn) for turn in page.items]
    assert turns[0]["first_item_number"] == 1000


def _shown(turn: StoredTurn) -> Any:
    return protocol_turn(turn)


async def _all_shown(store: paging.HistorySource, thread_id: str) -> list[Any]:
    def plain(turn: PlainTurn) -> Any:
        return msgspec.json.decode(encode_plain_turn(turn))

    return await paging.shown_turns(store, thread_id, _shown, plain)


@settings(max_examples=200, deadline=None)
@given(_HISTORIES)
async def test_all_turns_show_what_those_of_the_whole_history_show(
    lines: list[RolloutItem | None],
) -> None:
    source = _Source(1)
    for line in lines:
        source.append(line)
    if any(isinstance(entry, RolloutItem) for entry in source.entries):
        assert await _all_shown(source, _ID) == list(map(_shown, source.turns()))


@settings(max_examples=60, deadline=None)
@given(histories())
async def test_all_turns_of_a_plausible_history_show_the_same(lines: list[RolloutItem]) -> None:
    source = _Source(1)
    for line in lines:
        source.append(line)
    if source.entries:
        assert await _all_shown(source, _ID) == list(map(_shown, source.turns()))


async def test_lines_of_turns_that_were_written_already_are_not_lost() -> None:
    for late in (
        _event("patch_apply_end", call_id="late", turn_id="t0"),
        _event("task_complete", turn_id="t0", completed_at=9),
        _finished("t0", "late"),
        _event("thread_rolled_back", num_turns=18),
        _event("thread_rolled_back", num_turns=3),
    ):
        source = _Source(1)
        for number in range(20):
            source.append(_event("task_started", turn_id=f"t{number}", started_at=7))
            source.append(_event("user_message", message="x"))
            source.append(_event("agent_message", message="y"))
            if number % 7 != 5:
                source.append(_event("task_complete", turn_id=f"t{number}"))
        source.append(late)
        source.append(_event("agent_message", message="z"))
        assert await _all_shown(source, _ID) == list(map(_shown, source.turns()))


@pytest.mark.parametrize("label", LABELS)
async def test_all_turns_of_every_golden_home_show_the_same(label: str, tmp_path: Any) -> None:
    golden = Golden(label)
    async with open_store(f"local:{golden.unpack(tmp_path)}") as store:
        for thread_id in golden.ids:
            try:
                history = await store.load_history(thread_id)
            except (CorruptHistory, ThreadNotFound):
                continue
            expected = [_shown(turn) for turn in build_turns(history.items)]
            assert await _all_shown(store, thread_id) == expected
