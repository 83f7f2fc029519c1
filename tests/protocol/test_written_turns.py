"""Turns that are written while a history is read are those of the whole history, to the byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.golden_homes import LABELS, load

from threadstore.factory import open_store
from threadstore.history.growing import OpenStatus
from threadstore.history.items import RolloutItem
from threadstore.history.lines import Entry, parse_lines, parse_telling
from threadstore.history.turns import NeedsEveryLine, build_turns
from threadstore.history.written import WrittenTurns
from threadstore.protocol.codex_plain import encode_plain_turn
from threadstore.protocol.codex_thread import protocol_turn
from threadstore.queries import ThreadQuery

Json = dict[str, Any]

_encode = msgspec.json.Encoder().encode
_IDS = st.sampled_from(["a", "b", "c", "", "é"])
_TEXTS = st.sampled_from(["", " \n", "hello", 'a "quoted" \\ line\n', "naïve 世界 \x00", None, 7])
_TIMES = st.sampled_from([None, 0, 1, 1_790_000_000, -1, 1.0, True, 10**12, 10**30, "1"])


def _event(kind: str, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """An event that has some of these members, in any order."""
    body = st.fixed_dictionaries({"type": st.just(kind)}, optional=values)
    return body.flatmap(lambda event: st.permutations(list(event.items())).map(dict))


_NOTHING = st.sampled_from([None, [], [], ["x"]])
_ODD: dict[str, st.SearchStrategy[Any]] = {"call_id": _IDS, "turn_id": _IDS}
_PLAIN = st.one_of(
    st.just({"type": "task_started", "turn_id": "a", "started_at": 5, "root_turn_id": "r"}),
    st.just({"type": "task_started", "turn_id": "b", "model_context_window": 7}),
    st.just({"type": "task_complete", "turn_id": "a", "completed_at": 9, "duration_ms": 4000}),
    st.just({"type": "task_complete", "turn_id": "b", "last_agent_message": "x"}),
    st.just({"type": "user_message", "message": "hello", "images": [], "text_elements": []}),
    st.just({"type": "agent_message", "message": "hi", "phase": "final_answer"}),
    st.just({"type": "agent_reasoning", "text": "hm"}),
    st.just({"type": "agent_reasoning_raw_content", "text": "raw"}),
)
_BODY = st.one_of(
    st.just({"type": "AgentMessage", "id": "m", "content": [{"type": "Text", "text": "hi"}]}),
    st.just({"type": "UserMessage", "id": "u", "content": [{"type": "text", "text": "x"}]}),
    st.just({"type": "Reasoning", "id": "r", "summary_text": ["s"], "raw_content": []}),
    st.just({"type": "CommandExecution", "id": "e", "command": ["ls", "a b"], "status": "failed"}),
    st.just({"type": "Plan", "id": "p", "text": ""}),
    st.just({"type": "Plan", "id": "p", "text": "first"}),
    st.just({"type": "", "id": "item-1"}),
    st.just({"type": "Odd", "id": ""}),
    st.just({"type": None, "id": "n"}),
)
_FINISHED = _event(
    "item_completed",
    turn_id=st.sampled_from(["a", "a", "b", "t0", ""]),
    item=_BODY,
    started_at_ms=_TIMES,
    completed_at_ms=_TIMES,
)
_ANY = st.one_of(
    _event("task_started", turn_id=_IDS, root_turn_id=_TEXTS, started_at=_TIMES),
    _event("task_complete", turn_id=_IDS, completed_at=_TIMES, duration_ms=_TIMES),
    _event("task_complete", turn_id=_IDS, error=st.just({"message": "no"})),
    _event("turn_aborted", turn_id=_IDS, reason=st.just("interrupted")),
    _event(
        "user_message",
        message=_TEXTS,
        client_id=_TEXTS,
        images=_NOTHING,
        local_images=_NOTHING,
        text_elements=st.sampled_from([[], [{"byte_range": {"start": 0}}]]),
    ),
    _event("user_message", message=_TEXTS, **_ODD),
    _event("agent_message", message=_TEXTS, phase=_TEXTS, memory_citation=st.just({"entries": 1})),
    _event("agent_message", message=_TEXTS, delivery=_TEXTS, **_ODD),
    _event("agent_reasoning", text=_TEXTS, occurred_at_ms=_TIMES, **_ODD),
    _event("web_search_end", call_id=_IDS, query=_TEXTS),
    _event("context_compacted"),
    _event("error", message=_TEXTS),
    _event("exec_command_end", call_id=_IDS, turn_id=_IDS),
    _event("thread_rolled_back", num_turns=st.integers(0, 3)),
    _event("entered_review_mode", turn_id=_IDS),
    st.just({"type": "thread_settings_applied"}),
    st.just({"type": "thread_goal_updated"}),
    _event("token_count", info=st.none()),
)
_MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
_OTHERS = st.sampled_from(
    [
        ("response_item", _MESSAGE),
        ("response_item", {"type": "reasoning"}),
        ("turn_context", {"model": "m"}),
        ("token_usage_record", {"usage": {}}),
        ("world_state", {"full": True}),
        ("compacted", {"message": "short"}),
        ("session_meta", {"id": "t"}),
        ("event_msg", 5),
    ]
)
_EARLIER = st.sampled_from(["t0", "t1", "t2", "t3"])
_LATE = st.one_of(
    _event("turn_aborted", turn_id=_EARLIER),
    _event("task_complete", turn_id=_EARLIER, completed_at=_TIMES),
    _event("web_search_end", turn_id=_EARLIER, query=_TEXTS),
)
_LINES = st.one_of(
    st.tuples(st.just("event_msg"), _LATE),
    st.tuples(st.just("event_msg"), _FINISHED),
    st.tuples(st.just("event_msg"), _PLAIN),
    st.tuples(st.just("event_msg"), _PLAIN),
    st.tuples(st.just("event_msg"), _ANY),
    _OTHERS,
)


def _line(number: int, kind: str, payload: Any) -> bytes:
    body = {"timestamp": f"2026-11-22T05:42:54.{number:03}Z", "type": kind, "payload": payload}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=number % 2 == 0).encode() + b"\n"


def _expected(entries: list[Entry], status: OpenStatus) -> list[bytes]:
    items = [entry for entry in entries if isinstance(entry, RolloutItem)]
    return [_encode(protocol_turn(turn)) for turn in build_turns(items, open_status=status)]


def _written(entries: list[Entry], status: OpenStatus) -> list[bytes] | None:
    """``None`` where every line is needed."""
    turns = WrittenTurns(
        lambda turn: _encode(protocol_turn(turn)), encode_plain_turn, open_status=status
    )
    try:
        items = [entry for entry in entries if isinstance(entry, RolloutItem)]
        for start in range(0, len(items), 5):
            turns.feed_all(items[start : start + 5])
        return turns.written()
    except NeedsEveryLine:
        return None


@settings(max_examples=400)
@given(
    st.lists(_LINES, max_size=40),
    st.integers(0, 12),
    st.sampled_from(["interrupted", "in_progress"]),
)
def test_any_history(lines: list[tuple[str, Any]], plain: int, status: OpenStatus) -> None:
    before = [
        ("event_msg", event)
        for number in range(plain)
        for event in (
            {"type": "task_started", "turn_id": f"t{number}"},
            {"type": "user_message", "message": "hello"},
            {"type": "task_complete", "turn_id": f"t{number}"},
        )
    ]
    raw = [_line(number, *line) for number, line in enumerate([*before, *lines])]
    if not raw:
        return
    written = _written(parse_telling(raw, 1), status)
    event("every line is needed" if written is None else "written")
    assert written is None or written == _expected(parse_lines(raw, 1, 1), status)


@pytest.mark.parametrize("label", LABELS)
async def test_histories_of_real_releases(label: str, tmp_path: Path) -> None:
    async with open_store(f"local:{load(label).unpack(tmp_path)}", use_index_file=False) as store:
        page = await store.list_threads(ThreadQuery(archived=None, limit=1000))
        for thread in page.items:
            whole = [entry async for batch in store.history_batches(thread.id) for entry in batch]
            brief = store.history_batches(thread.id, brief=True)
            told = [entry async for batch in brief for entry in batch]
            written = _written(told, "interrupted")
            assert written is None or written == _expected(whole, "interrupted")
