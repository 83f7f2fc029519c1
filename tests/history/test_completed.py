"""Events of legacy threads as completed items of paginated ones."""

from __future__ import annotations

import datetime as dt
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.errors import InvalidRequest
from threadstore.history.completed import OpenTurn, completed_form
from threadstore.history.items import RolloutItem
from threadstore.history.policy import canonical
from threadstore.history.turns import build_turns
from threadstore.protocol.codex_items import turn_items
from threadstore.testing.items import (
    agent_message,
    event,
    item_completed,
    task_complete,
    task_started,
    turn,
    turn_aborted,
    unknown_item,
    user_item_completed,
    user_message,
    user_response,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

THREAD = "01a201e5-a996-7a61-8db2-c256091e8939"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
OPEN = OpenTurn(thread_id=THREAD, turn_id="t")
BETWEEN = OpenTurn(thread_id=THREAD)


def convert(
    items: Sequence[RolloutItem], before: OpenTurn = BETWEEN
) -> tuple[list[RolloutItem], OpenTurn]:
    numbers = count(1)
    return completed_form(items, before, now=NOW, new_id=lambda: f"new-{next(numbers)}")


def completed(item: RolloutItem) -> dict[str, Any]:
    """The one completed item that an event within a turn becomes."""
    (converted,), after = convert([item], OPEN)
    assert after == OPEN
    payload = converted.payload
    assert payload["type"] == "item_completed"
    assert (payload["thread_id"], payload["turn_id"]) == (THREAD, "t")
    assert payload["completed_at_ms"] == int(NOW.timestamp() * 1000)
    found: dict[str, Any] = payload["item"]
    return found


CHANGES = {"/repo/a.txt": {"type": "add", "content": "hi\n"}}
CALL = {"server": "s", "tool": "t", "arguments": {"a": 1}}
DURATION = {"secs": 0, "nanos": 1}
ROOT_AGENT = "/root"  # Codex's word for the first agent; it refuses paths that begin otherwise
AGENT = {"agent_thread_id": THREAD, "agent_path": f"{ROOT_AGENT}/ada"}

FORMS = {
    "user": (
        event("user_message", message="hi", images=["data:x"], local_images=["/a.png"]),
        {
            "type": "UserMessage",
            "id": "new-1",
            "content": [
                {"type": "text", "text": "hi", "text_elements": []},
                {"type": "image", "image_url": "data:x"},
                {"type": "local_image", "path": "/a.png"},
            ],
        },
    ),
    "image alone": (
        event("user_message", message="", images=["x"], image_details=["low"], client_id="c"),
        {
            "type": "UserMessage",
            "id": "new-1",
            "content": [{"type": "image", "image_url": "x", "detail": "low"}],
            "client_id": "c",
        },
    ),
    "agent": (
        event("agent_message", message="yes", phase="final_answer", memory_citation=None),
        {
            "type": "AgentMessage",
            "id": "new-1",
            "content": [{"type": "Text", "text": "yes"}],
            "phase": "final_answer",
        },
    ),
    "reasoning": (
        event("agent_reasoning", text="why"),
        {"type": "Reasoning", "id": "new-1", "summary_text": ["why"], "raw_content": []},
    ),
    "raw reasoning": (
        event("agent_reasoning_raw_content", text="raw"),
        {"type": "Reasoning", "id": "new-1", "summary_text": [], "raw_content": ["raw"]},
    ),
    "patch": (
        event("patch_apply_end", call_id="c1", success=True, changes=CHANGES, stdout="ok"),
        {
            "type": "FileChange",
            "id": "c1",
            "changes": CHANGES,
            "status": "completed",
            "stdout": "ok",
        },
    ),
    "tool": (
        event(
            "mcp_tool_call_end",
            call_id="m1",
            invocation=CALL,
            duration=DURATION,
            result={"Ok": {"content": []}},
        ),
        {
            "type": "McpToolCall",
            "id": "m1",
            **CALL,
            "status": "completed",
            "result": {"content": []},
            "duration": DURATION,
        },
    ),
    "failed tool": (
        event("mcp_tool_call_end", call_id="m2", invocation=CALL, result={"Err": "bad"}),
        {
            "type": "McpToolCall",
            "id": "m2",
            **CALL,
            "status": "failed",
            "error": {"message": "bad"},
        },
    ),
    "search": (
        event("web_search_end", call_id="w1", query="q"),
        {"type": "WebSearch", "id": "w1", "query": "q", "action": {"type": "other"}},
    ),
    "generated image": (
        event("image_generation_end", call_id="i1", status="completed", result="AAAA"),
        {
            "type": "Extension",
            "id": "i1",
            "kind": "image_gen.generation",
            "status": "completed",
            "revisedPrompt": None,
            "result": "AAAA",
            "savedPath": None,
        },
    ),
    "review begins": (
        event("entered_review_mode", target={"type": "uncommittedChanges"}, user_facing_hint="all"),
        {
            "type": "EnteredReviewMode",
            "id": "new-1",
            "target": {"type": "uncommittedChanges"},
            "user_facing_hint": "all",
        },
    ),
    "review ends": (
        event("exited_review_mode", item_id="r", review_output=None),
        {"type": "ExitedReviewMode", "id": "r", "review_output": None},
    ),
    "sub-agent": (
        RolloutItem(
            "event_msg",
            {"type": "sub_agent_activity", "event_id": "s1", "kind": "started", **AGENT},
        ),
        {"type": "SubAgentActivity", "id": "s1", "kind": "started", **AGENT},
    ),
    "compaction": (event("context_compacted"), {"type": "ContextCompaction", "id": "new-1"}),
}


@pytest.mark.parametrize("name", FORMS)
def test_each_event_has_its_form(name: str) -> None:
    source, expected = FORMS[name]
    assert completed(source) == expected
    assert completed(RolloutItem.parse(source.line())) == expected


def test_the_time_on_the_line_counts() -> None:
    item = RolloutItem("event_msg", user_message("x").payload, "2026-01-02T00:00:00.000Z")
    (converted,), _ = convert([item], OPEN)
    assert converted.timestamp == item.timestamp
    assert converted.payload["completed_at_ms"] == 1767312000000


def test_reasoning_events_in_a_row_are_one_item() -> None:
    thoughts = [
        event("agent_reasoning", text="a"),
        event("agent_reasoning", text="b"),
        event("agent_reasoning_raw_content", text="c"),
    ]
    items, _ = convert([*thoughts, agent_message("x"), event("agent_reasoning", text="d")], OPEN)
    found = [item.payload["item"] for item in items]
    assert [item.get("summary_text") for item in found] == [["a", "b"], None, ["d"]]
    assert found[0]["raw_content"] == ["c"]


def test_a_turn_of_events_reads_the_same_afterwards() -> None:
    source = turn("t1", "question", "answer")
    items, after = convert(source)
    assert after == BETWEEN
    (before,), (now,) = build_turns(source), build_turns(canonical(items, "paginated"))
    assert (now.id, now.status) == (before.id, before.status)
    assert [item["type"] for item in turn_items(now)] == ["userMessage", "agentMessage"]
    assert [item.type for item in items] == [item.type for item in source]


def test_what_is_said_outside_of_any_turn_gets_turns_that_end() -> None:
    items, after = convert(
        [
            user_response("one"),
            user_message("one"),
            agent_message("1"),
            user_message("two"),
            agent_message("2"),
        ]
    )
    turns = build_turns(items)
    assert [turn.status for turn in turns] == ["completed", "completed"]
    assert [len(turn_items(turn)) for turn in turns] == [2, 2]

    late, after = convert([agent_message("and")], after)
    assert late[0].payload["turn_id"] == turns[-1].id
    assert len(late) == 1
    after = after.after([task_started("t")])
    (inside,), after = convert([agent_message("in")], after)
    assert inside.payload["turn_id"] == "t"
    outside, _ = convert([agent_message("out")], after.after([turn_aborted("t")]))
    assert [item.kind for item in outside] == ["task_started", "item_completed", "task_complete"]


def test_a_turn_that_starts_ends_the_implied_one() -> None:
    items, after = convert([user_message("one"), task_started("t"), user_message("two")])
    kinds = ["task_started", "item_completed", "task_complete", "task_started", "item_completed"]
    assert [item.kind for item in items] == kinds
    assert (after.turn_id, after.implied) == ("t", False)


@pytest.mark.parametrize("order", [1, -1])
def test_an_event_that_repeats_a_completed_item_is_left_out(order: int) -> None:
    said = item_completed(
        THREAD, "t", {"type": "AgentMessage", "id": "m", "content": [{"text": "yes"}]}
    )
    pair = [said, agent_message("yes")][::order]
    items, _ = convert([task_started("t"), *pair, agent_message("yes"), task_complete("t")])
    assert [item for item in items if item is said] == [said]
    assert len(items) == 4


def test_a_repetition_is_known_in_the_next_append_of_the_same_turn_only() -> None:
    user = user_item_completed(THREAD, "t", "hi")
    _, after = convert([task_started("t"), user])
    items, later = convert([user_message("hi")], after)
    assert items == []
    assert later.said == ()
    items, _ = convert([task_complete("t"), task_started("u"), user_message("hi")], after)
    assert [item.kind for item in items] == ["task_complete", "task_started", "item_completed"]


@pytest.mark.parametrize(
    "item",
    [
        event("user_message"),
        event("agent_message", message=5),
        event("agent_reasoning"),
        event("patch_apply_end", changes=None),
        event("mcp_tool_call_end", invocation=CALL),
        RolloutItem("event_msg", 5),
    ],
)
def test_events_that_say_nothing_do_not_persist(item: RolloutItem) -> None:
    items, after = convert([item])
    assert (items, after) == ([item], BETWEEN)
    assert canonical(items, "paginated") == []


@given(
    st.lists(
        st.sampled_from(
            [
                *(source for source, _ in FORMS.values()),
                task_started("a"),
                task_complete("a"),
                user_item_completed(THREAD, "a", "hi"),
                user_response("x"),
                unknown_item(),
            ]
        ),
        max_size=12,
    )
)
def test_twice_is_once_and_the_rest_is_untouched(items: list[RolloutItem]) -> None:
    once, after = convert(items)
    twice, again = convert(once)
    assert [id(item) for item in twice] == [id(item) for item in once]
    assert again.turn_id == (None if after.implied else after.turn_id)
    others = [item for item in items if item.type != "event_msg" or item.kind == "item_completed"]
    kept = {id(item) for item in once}
    assert all(id(item) in kept for item in others)
    assert all(item in canonical(once, "paginated") for item in once)


def test_no_sequence_of_items_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        convert("no items")  # type: ignore[arg-type]
