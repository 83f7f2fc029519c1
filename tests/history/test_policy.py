"""The persistence policy: one row per kind, idempotent, cheap."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.history.items import RolloutItem, _stored
from threadstore.history.policy import OUTPUT_LIMIT, affects_metadata, canonical, persists


def _event(kind: str, /, **fields: Any) -> RolloutItem:
    return RolloutItem("event_msg", {"type": kind, **fields})


def _response(kind: str) -> RolloutItem:
    return RolloutItem("response_item", {"type": kind})


def _done(kind: str, /, **fields: Any) -> RolloutItem:
    return _event("item_completed", turn_id="t", item={"type": kind, "id": "i", **fields})


_BOTH = [
    RolloutItem("session_meta", {}),
    RolloutItem("turn_context", {}),
    RolloutItem("compacted", {"message": ""}),
    RolloutItem("world_state", {"full": True}),
    RolloutItem("inter_agent_communication", {}),
    RolloutItem("inter_agent_communication_metadata", {}),
    RolloutItem("token_usage_record", {}),
    RolloutItem("retained_context", {}),
    RolloutItem("security_risk_score", {}),
    RolloutItem("dynamic_tools_updated", {}),
    RolloutItem("a_type_of_tomorrow", {"x": 1}),
    *map(
        _response,
        [
            "message",
            "reasoning",
            "local_shell_call",
            "function_call",
            "function_call_output",
            "custom_tool_call",
            "custom_tool_call_output",
            "tool_search_call",
            "tool_search_output",
            "web_search_call",
            "image_generation_call",
            "compaction",
            "compaction_summary",
            "context_compaction",
            "agent_message",
            "additional_tools",
            "configuration_update",
        ],
    ),
    *map(
        _event,
        [
            "task_started",
            "turn_started",
            "task_complete",
            "turn_complete",
            "turn_aborted",
            "token_count",
            "thread_goal_updated",
            "thread_rolled_back",
            "thread_settings_applied",
        ],
    ),
    _done("Plan"),
    _done("FunctionCallOutput"),
    _done("Sleep"),
    _done("Extension", kind="clock.sleep"),
    _done("SubAgentActivity", kind="completed"),
]
_LEGACY = [
    _event(kind)
    for kind in (
        "user_message",
        "agent_message",
        "agent_reasoning",
        "agent_reasoning_raw_content",
        "context_compacted",
        "entered_review_mode",
        "exited_review_mode",
        "patch_apply_end",
        "mcp_tool_call_end",
        "web_search_end",
        "image_generation_end",
        "sub_agent_activity",
    )
]
_PAGINATED = [
    RolloutItem("realtime_item", {}),
    *map(
        _done,
        [
            "UserMessage",
            "AgentMessage",
            "Reasoning",
            "CommandExecution",
            "FileChange",
            "McpToolCall",
            "WebSearch",
            "ImageView",
            "ContextCompaction",
            "DynamicToolCall",
            "SomethingNew",
        ],
    ),
    _done("SubAgentActivity", kind="started"),
    _done("Extension", kind="web.search"),
]
_NEVER = [
    *map(_response, ["compaction_trigger", "ghost_snapshot", "other", "unheard_of"]),
    RolloutItem("response_item", {}),
    RolloutItem("response_item", None),
    *map(
        _event,
        [
            "exec_command_begin",
            "exec_command_output_delta",
            "exec_command_end",
            "error",
            "agent_message_delta",
            "warning",
            "stream_error",
            "guardian_assessment",
            "view_image_tool_call",
            "collab_waiting_end",
            "dynamic_tool_call_request",
            "dynamic_tool_call_response",
            "exec_approval_request",
            "apply_patch_approval_request",
            "turn_diff",
            "plan_update",
            "session_configured",
            "shutdown_complete",
            "item_started",
            "hook_started",
            "realtime_conversation_started",
            "thread_name_updated",
            "undo_completed",
            "unheard_of",
        ],
    ),
    RolloutItem("event_msg", {}),
    RolloutItem("event_msg", 5),
]


@pytest.mark.parametrize(
    ("items", "legacy", "paginated"),
    [
        (_BOTH, True, True),
        (_LEGACY, True, False),
        (_PAGINATED, False, True),
        (_NEVER, False, False),
    ],
    ids=["both", "legacy only", "paginated only", "never"],
)
@pytest.mark.parametrize("parsed", [False, True])
def test_every_row_of_the_table(
    items: list[RolloutItem], legacy: bool, paginated: bool, parsed: bool
) -> None:
    for item in items:
        checked = RolloutItem.parse(item.line()) if parsed else item
        assert persists(checked, "legacy") is legacy, item
        assert persists(checked, "paginated") is paginated, item


@pytest.mark.parametrize("mode", ["legacy", "paginated"])
@given(chosen=st.lists(st.sampled_from(_BOTH + _LEGACY + _PAGINATED + _NEVER), max_size=12))
def test_filtering_keeps_order_and_items_and_twice_is_once(
    mode: Any, chosen: list[RolloutItem]
) -> None:
    kept = canonical(chosen, mode)
    remaining = iter(chosen)
    assert all(any(item is other for other in remaining) for item in kept)
    assert [id(item) for item in canonical(kept, mode)] == [id(item) for item in kept]


def test_nothing_that_persists_leaves_nothing_to_append() -> None:
    assert canonical(_NEVER, "legacy") == []
    assert canonical([], "paginated") == []


def test_reading_the_kind_does_not_decode_the_payload() -> None:
    item = RolloutItem.parse(b'{"type":"response_item","payload":{"type":"message","x":{}}}')
    assert persists(item, "legacy")
    assert not affects_metadata(item)
    assert isinstance(_stored(item), msgspec.Raw)


_long_texts = st.sampled_from(["x", "ü", "\u2028", '"\\', "\x00", "😀"]).map(
    lambda c: c * OUTPUT_LIMIT
)


@given(_long_texts)
def test_long_command_output_of_a_paginated_thread_loses_its_middle_once(text: str) -> None:
    output = "START" + text + "END"
    item = _done("CommandExecution", aggregated_output=output, exit_code=0, status="completed")
    (kept,) = canonical([item], "paginated")
    cut = kept.payload["item"]["aggregated_output"]
    assert cut.startswith("START")
    assert cut.endswith("END")
    assert "left out" in cut
    assert len(cut.encode()) <= OUTPUT_LIMIT
    assert kept.payload["item"]["exit_code"] == 0
    assert item.payload["item"]["aggregated_output"] == output
    assert canonical([kept], "paginated")[0] is kept


@given(_long_texts, st.booleans())
def test_a_long_tool_result_of_a_paginated_thread_loses_its_middle_once(
    text: str, is_error: bool
) -> None:
    result = {
        "content": [{"type": "text", "text": "START"}, {"type": "text", "text": text + "END"}]
    }
    item = _done("McpToolCall", server="s", result={**result, "isError": is_error})
    (kept,) = canonical([item], "paginated")
    short = kept.payload["item"]["result"]
    assert short["isError"] is is_error
    assert short["content"][0]["text"].startswith("START")
    assert short["content"][0]["text"].endswith("END")
    assert len(msgspec.json.encode(short)) <= OUTPUT_LIMIT
    assert canonical([kept], "paginated")[0] is kept


@pytest.mark.parametrize(
    "result",
    [
        {"content": [{"type": "image", "data": "A" * OUTPUT_LIMIT}]},
        {"content": "A" * OUTPUT_LIMIT},
        {"structuredContent": {"a": ["B" * OUTPUT_LIMIT]}},
        {"content": [None, {"text": 5}, "C" * OUTPUT_LIMIT], "isError": "?"},
    ],
)
def test_a_long_tool_result_of_any_shape_is_bounded(result: dict[str, Any]) -> None:
    (kept,) = canonical([_done("McpToolCall", result=result)], "paginated")
    assert len(msgspec.json.encode(kept.payload["item"]["result"])) <= OUTPUT_LIMIT
    assert canonical([kept], "paginated")[0] is kept


@pytest.mark.parametrize(
    "item",
    [
        _done("CommandExecution", aggregated_output="short"),
        _done("CommandExecution", aggregated_output=None),
        _done("CommandExecution", aggregated_output="x" * OUTPUT_LIMIT),
        _done("AgentMessage", content=[{"type": "Text", "text": "x" * 2 * OUTPUT_LIMIT}]),
        RolloutItem(
            "response_item", {"type": "function_call_output", "output": "x" * 2 * OUTPUT_LIMIT}
        ),
    ],
)
def test_everything_else_is_passed_on_untouched(item: RolloutItem) -> None:
    assert canonical([item], "paginated")[0] is item


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (RolloutItem("session_meta", {}), True),
        (RolloutItem("turn_context", {}), True),
        (_event("user_message"), True),
        (_event("token_count"), True),
        (_event("thread_goal_updated"), True),
        (_event("thread_settings_applied"), True),
        (_event("task_started"), True),
        (_event("turn_started"), True),
        (_done("UserMessage"), True),
        (_done("FunctionCallOutput"), True),
        (_done("AgentMessage"), False),
        (_event("item_completed", item=5), False),
        (_event("agent_message"), False),
        (_event("task_complete"), False),
        (_response("message"), False),
        (RolloutItem("compacted", {}), False),
        (RolloutItem("token_usage_record", {}), True),
        (RolloutItem("world_state", {}), False),
    ],
)
def test_which_items_can_change_metadata(item: RolloutItem, expected: bool) -> None:
    assert affects_metadata(item) is expected
    assert affects_metadata(RolloutItem.parse(item.line())) is expected
