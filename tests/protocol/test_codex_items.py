"""The items of a turn in the words of Codex's v2 protocol."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.history.items import RolloutItem
from threadstore.history.turns import StoredTurn
from threadstore.protocol.codex_items import thread_item, turn_items
from threadstore.testing import items


def completed(**item: Any) -> dict[str, Any]:
    result = thread_item(items.item_completed("thread", "turn", {"id": "i", **item}))
    assert result is not None
    return result


def told(kind: str, **fields: Any) -> dict[str, Any]:
    event = items.event(kind, **fields)
    result = thread_item(event, "item-7")
    assert result is not None
    return result


def facts(item: dict[str, Any], *keys: str) -> list[Any]:
    return [item[key] for key in keys]


def turn_of(*entries: RolloutItem) -> StoredTurn:
    for position, entry in enumerate(entries, start=1):
        entry.position = position
    return StoredTurn(
        id="t", status="completed", items=entries, first_position=1, last_position=len(entries)
    )


def test_a_message_of_the_user_is_the_same_from_both_forms() -> None:
    text = {"type": "text", "text": "look", "text_elements": []}
    picture = {"type": "image", "url": "data:x", "detail": None}
    local = {"type": "localImage", "detail": None, "path": "/p.png"}
    legacy = told(
        "user_message", message="look", images=["data:x"], local_images=["/p.png"], text_elements=[]
    )
    on_disk = [
        text,
        {"type": "image", "image_url": "data:x"},
        {"type": "local_image", "path": "/p.png"},
    ]
    assert legacy["content"] == [text, picture, local]
    assert completed(type="UserMessage", content=on_disk)["content"] == [text, picture, local]
    assert legacy["id"] == "item-7"


def test_a_message_of_the_agent_has_every_key_in_codex_order() -> None:
    keys = [
        "type", "moderation", "id", "text", "phase", "memoryCitation", "delivery", "questions",
        "startedAtMs", "completedAtMs",
    ]  # fmt: skip
    legacy = told("agent_message", message="hi", phase="final_answer", memory_citation=None)
    paginated = completed(type="AgentMessage", content=[{"type": "Text", "text": "hi"}])
    assert list(legacy) == list(paginated) == keys
    assert facts(legacy, "text", "phase") == ["hi", "final_answer"]
    assert facts(paginated, "text", "phase") == ["hi", None]


def test_a_command_is_told_in_protocol_words() -> None:
    item = completed(
        type="CommandExecution",
        command=["/bin/bash", "-lc", "echo hi"],
        cwd="file:///some%20where",
        parsed_cmd=[{"type": "list_files", "cmd": "ls", "path": None}],
        source="unified_exec_startup",
        status="completed",
        aggregated_output="hi\n",
        exit_code=0,
        duration={"secs": 1, "nanos": 24_526_222},
    )
    assert facts(item, "type", "command", "cwd") == [
        "commandExecution", "/bin/bash -lc 'echo hi'", "/some where"
    ]  # fmt: skip
    assert item["commandActions"] == [{"type": "listFiles", "command": "ls", "path": None}]
    assert facts(item, "source", "exitCode", "durationMs") == ["unifiedExecStartup", 0, 1024]


def test_changed_files_are_the_same_from_both_forms() -> None:
    changes = {
        "/a": {"type": "add", "content": "new"},
        "/b": {"type": "update", "unified_diff": "@@", "move_path": "/c"},
    }
    legacy = thread_item(
        items.event("patch_apply_end", call_id="call", changes=changes, status="completed")
    )
    paginated = completed(type="FileChange", changes=changes, status="completed")
    assert legacy is not None
    assert legacy["id"] == "call"
    assert legacy["changes"] == paginated["changes"]
    assert legacy["changes"] == [
        {"path": "/a", "kind": {"type": "add"}, "diff": "new"},
        {"path": "/b", "kind": {"type": "update", "move_path": "/c"}, "diff": "@@\n\nMoved to: /c"},
    ]


def test_other_kinds_are_told_in_protocol_words() -> None:
    assert facts(completed(type="WebSearch", query="q", action=None), "type", "query") == [
        "webSearch", "q"
    ]  # fmt: skip
    assert completed(type="ImageView", path="file:///a.png")["path"] == "/a.png"
    assert told("entered_review_mode", user_facing_hint="all")["review"] == "all"
    assert told("entered_review_mode")["review"] == "Review requested."
    assert told("context_compacted")["type"] == "contextCompaction"
    agents = completed(
        type="CollabAgentToolCall",
        tool="spawn_agent",
        status="in_progress",
        agents_states={"a": "pending_init", "b": {"completed": "done"}},
    )
    assert facts(agents, "tool", "status") == ["spawnAgent", "inProgress"]
    assert agents["agentsStates"] == {
        "a": {"status": "pendingInit", "message": None},
        "b": {"status": "completed", "message": "done"},
    }


FINDING = {
    "title": "Off by one",
    "body": "Look\nhere",
    "code_location": {"absolute_file_path": "/a.py", "line_range": {"start": 1, "end": 3}},
}
OFF_BY_ONE = "- Off by one — /a.py:1-3\n  Look\n  here"


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (None, "Reviewer failed to output a response."),
        ({"overall_explanation": "  "}, "Reviewer failed to output a response."),
        ({"overall_explanation": " fine "}, "fine"),
        (
            {"overall_explanation": "no", "findings": [FINDING]},
            f"no\n\nReview comment:\n\n{OFF_BY_ONE}",
        ),
        (
            {"findings": [FINDING, FINDING]},
            f"Full review comments:\n\n{OFF_BY_ONE}\n\n{OFF_BY_ONE}",
        ),
    ],
)
def test_a_review_ends_with_its_words_and_findings(output: Any, text: str) -> None:
    assert told("exited_review_mode", review_output=output)["review"] == text
    assert completed(type="ExitedReviewMode", review_output=output)["review"] == text


def test_calls_of_agents_are_the_same_from_both_forms() -> None:
    states = {"b": {"errored": "no"}}
    legacy = told("collab_waiting_end", sender_thread_id="a", statuses=states)
    call = {"tool": "wait", "status": "failed", "sender_thread_id": "a"}
    paginated = completed(
        type="CollabAgentToolCall", receiver_thread_ids=["b"], agents_states=states, **call
    )
    assert {**legacy, "id": "i"} == paginated
    lost = told("collab_agent_spawn_end", sender_thread_id="a", new_thread_id=None, prompt="go")
    assert facts(lost, "tool", "status", "receiverThreadIds") == ["spawnAgent", "failed", []]


def test_tools_that_extensions_own_are_told_as_the_items_they_are() -> None:
    asleep = completed(type="Extension", kind="clock.sleep", durationMs=5)
    assert facts(asleep, "type", "durationMs") == ["sleep", 5]
    search = completed(
        type="Extension", kind="web.search", query="q", action={"type": "openPage", "url": "u"}
    )
    assert facts(search, "type", "action") == ["webSearch", {"type": "openPage", "url": "u"}]
    image = completed(type="Extension", kind="image_gen.generation", status="completed", fileId="f")
    assert facts(image, "type", "fileId") == ["imageGeneration", "f"]


def test_the_output_of_a_function_has_every_member() -> None:
    output = completed(type="FunctionCallOutput", name="fn", output="text")
    assert facts(output, "name", "namespace", "output") == ["fn", None, "text"]


def test_the_app_of_a_tool_is_told_only_if_it_has_one() -> None:
    assert completed(type="McpToolCall", server="s")["appContext"] is None
    app = completed(type="McpToolCall", connectorId="c", appName="n")["appContext"]
    assert facts(app, "connectorId", "appName", "linkId") == ["c", "n", None]


def test_a_file_that_was_read_has_an_absolute_path() -> None:
    parts = [{"type": "read", "cmd": "cat a", "name": "a", "path": "a"}]
    item = completed(type="CommandExecution", command=["cat"], cwd="file:///b", parsed_cmd=parts)
    assert item["commandActions"][0]["path"] == "/b/a"
    assert item["aggregatedOutput"] is None


@pytest.mark.parametrize(
    ("result", "status", "error"),
    [({"Ok": {"content": []}}, "completed", None), ({"Err": "no"}, "failed", {"message": "no"})],
)
def test_a_tool_of_a_server_succeeds_or_fails(result: Any, status: str, error: Any) -> None:
    invocation = {"server": "s", "tool": "t", "arguments": {"a": 1}}
    item = told("mcp_tool_call_end", call_id="c", invocation=invocation, result=result)
    assert facts(item, "server", "tool", "arguments") == ["s", "t", {"a": 1}]
    assert facts(item, "status", "error") == [status, error]


def test_a_kind_of_tomorrow_keeps_its_facts() -> None:
    item = completed(type="HoloCall", some_fact=1, status="in_progress")
    assert facts(item, "type", "someFact", "status") == ["holoCall", 1, "inProgress"]


def test_reasoning_in_a_row_is_one_item() -> None:
    turn = turn_of(
        items.event("agent_reasoning", text="one"),
        items.event("agent_reasoning", text="two"),
        items.agent_message("hi"),
        items.event("agent_reasoning", text="three"),
    )
    assert [item.get("summary") for item in turn_items(turn)] == [["one", "two"], None, ["three"]]


def test_items_without_an_id_have_the_number_that_the_turn_says() -> None:
    turn = turn_of(
        items.user_message("one"),
        items.event("patch_apply_end", call_id="call", changes={}),
        items.agent_message(""),
        items.agent_message("two"),
    )
    turn = msgspec.structs.replace(turn, first_item_number=5)
    assert [item["id"] for item in turn_items(turn)] == ["item-5", "call", "item-6"]


def test_a_later_state_of_an_item_replaces_the_earlier_one() -> None:
    states = [
        items.item_completed("th", "t", {"type": "CommandExecution", "id": "c", "status": status})
        for status in ("in_progress", "completed")
    ]
    (item,) = turn_items(turn_of(*states))
    assert item["status"] == "completed"


def test_lines_for_the_model_and_unknown_events_are_no_items() -> None:
    assert thread_item(items.assistant_response("hi")) is None
    assert thread_item(items.token_count(None)) is None
    assert thread_item(items.unknown_item()) is None
    assert thread_item(RolloutItem("event_msg", "text")) is None
    assert thread_item(items.event("item_completed", item=None)) is None


KINDS = [
    "user_message", "agent_message", "agent_reasoning", "exec_command_end", "patch_apply_end",
    "mcp_tool_call_end", "web_search_end", "exited_review_mode", "item_completed",
]  # fmt: skip
COMPLETED = [
    "UserMessage", "AgentMessage", "Reasoning", "CommandExecution", "FileChange", "WebSearch",
    "ExitedReviewMode", "CollabAgentToolCall", "Other",
]  # fmt: skip
FIELDS = [
    "message", "text", "text_elements", "images", "local_images", "command", "changes", "content",
    "invocation", "result", "review_output", "duration", "parsed_cmd", "status", "id", "call_id",
    "summary_text", "agents_states", "cwd",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.sampled_from(KINDS),
    st.sampled_from(COMPLETED),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6),
)
def test_values_of_any_shape_cost_themselves_only(
    kind: str, item_type: str, fields: dict[str, Any]
) -> None:
    item = {"type": item_type, **fields}
    event = items.event(kind, **{"item": item, **fields})
    turn_items(turn_of(event, event))
