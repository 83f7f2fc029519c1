"""The decision table: what each item implies for metadata, and what it must never imply."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.clock import UTC
from threadstore.history.facts import FactObserver, fold
from threadstore.history.items import RolloutItem
from threadstore.metadata import GitInfoPatch, ThreadMetadataPatch, ThreadUsage, TokenUsage

_ID = "01a201e5-a996-7a61-8db2-c256091e8939"
_OTHER = "01a201e5-0000-7a61-8db2-c256091e8939"
_NOW = dt.datetime(2026, 11, 22, 5, 0, tzinfo=UTC)
_META: dict[str, Any] = {
    "id": _ID,
    "timestamp": "2026-11-22T05:43:13.739Z",
    "cwd": "/repo",
    "originator": "cli_rs",
    "cli_version": "0.131.0",
    "source": "vscode",
    "model_provider": "openai",
    "base_instructions": None,
}
_USAGE = {"input_tokens": 5, "cached_input_tokens": 1, "output_tokens": 2, "total_tokens": 7}


def _meta(**fields: Any) -> RolloutItem:
    return RolloutItem("session_meta", {**_META, **fields})


def _event(kind: str, /, timestamp: str | None = None, **fields: Any) -> RolloutItem:
    return RolloutItem("event_msg", {"type": kind, **fields}, timestamp)


def _user(message: str, **fields: Any) -> RolloutItem:
    return _event("user_message", message=message, **fields)


def _done(kind: str, /, **fields: Any) -> RolloutItem:
    return _event("item_completed", turn_id="t", item={"type": kind, "id": "i", **fields})


def _typed(*parts: dict[str, Any]) -> RolloutItem:
    return _done("UserMessage", content=list(parts))


def _context(**fields: Any) -> RolloutItem:
    return RolloutItem("turn_context", fields)


def _said(*items: RolloutItem, **seen: Any) -> dict[str, Any]:
    patch = FactObserver(_ID, **seen).observe_all(items, now=_NOW)
    return {} if patch is None else patch.present()


def _texts(text: str) -> dict[str, Any]:
    return {"first_user_message": text, "preview": text, "title": text}


def test_the_own_header_sets_everything_it_says_and_clears_what_it_lacks() -> None:
    assert _said(_meta()) == {
        "created_at": dt.datetime(2026, 11, 22, 5, 43, 13, 739000, tzinfo=UTC),
        "source": "vscode",
        "thread_source": None,
        "agent_nickname": None,
        "agent_role": None,
        "agent_path": None,
        "model_provider": "openai",
        "cli_version": "0.131.0",
        "cwd": "/repo",
        "originator": "cli_rs",
    }


_HEADER_ROWS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"timestamp": "2026-11-22T05-43-13"},
        {"created_at": dt.datetime(2026, 11, 22, 5, 43, 13, tzinfo=UTC)},
    ),
    ({"source": "VSCode"}, {"source": "unknown"}),
    ({"source": {"weird": 1}}, {"source": "unknown"}),
    ({"source": {"custom": "atlas"}}, {"source": {"custom": "atlas"}}),
    ({"source": {"subagent": "review"}}, {"source": {"subagent": "review"}}),
    ({"thread_source": "user"}, {"thread_source": "user"}),
    (
        {"agent_nickname": "Ada", "agent_path": "/main/a"},
        {"agent_nickname": "Ada", "agent_path": "/main/a"},
    ),
    ({"agent_type": "explorer"}, {"agent_role": "explorer"}),
    (
        {"source": {"subagent": {"thread_spawn": {"parent_thread_id": _OTHER, "agent_role": "x"}}}},
        {"agent_role": "x"},
    ),
    (
        {"creator_user_id": "u", "creator_account_id": "a"},
        {"creator_user_id": "u", "creator_account_id": "a"},
    ),
    ({"memory_mode": "disabled"}, {"memory_mode": "disabled"}),
    ({"memory_mode": "enabled"}, {"memory_mode": "enabled"}),
    (
        {"git": {"commit_hash": "c", "branch": "b"}},
        {"git": GitInfoPatch(sha="c", branch="b", origin_url=None)},
    ),
    ({"git": {}}, {"git": GitInfoPatch(sha=None, branch=None, origin_url=None)}),
    (
        {"git": {"repository_url": "https://u:sekret@h/x.git"}},
        {"git": GitInfoPatch(sha=None, branch=None, origin_url="https://h/x.git")},
    ),
    ({"id": _ID.upper()}, {"cwd": "/repo"}),
]


@pytest.mark.parametrize(("fields", "expected"), _HEADER_ROWS)
def test_rows_of_the_header(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    facts = _said(_meta(**fields))
    assert {key: facts.get(key, "absent") for key in expected} == expected


@pytest.mark.parametrize(
    ("field", "value", "lost"),
    [
        ("timestamp", "whenever", "created_at"),
        ("timestamp", 5, "created_at"),
        ("cwd", "", "cwd"),
        ("cwd", 5, "cwd"),
        ("model_provider", None, "model_provider"),
        ("cli_version", [], "cli_version"),
        ("originator", {}, "originator"),
        ("memory_mode", "polluted", "memory_mode"),
        ("memory_mode", 5, "memory_mode"),
        ("git", None, "git"),
        ("git", "main", "git"),
    ],
)
def test_a_wrong_field_of_a_header_costs_itself_alone(field: str, value: Any, lost: str) -> None:
    facts = _said(_meta(**{field: value}))
    assert lost not in facts
    assert facts.keys() >= _said(_meta()).keys() - {lost}


def test_a_header_without_source_means_vscode_as_codex_reads_it() -> None:
    old = RolloutItem("session_meta", {key: _META[key] for key in _META if key != "source"})
    assert _said(old)["source"] == "vscode"
    assert _said(_meta(source="exec"), old)["source"] == "exec"


@pytest.mark.parametrize(
    "payload", [{**_META, "id": _OTHER}, {**_META, "id": "?"}, {}, None, [], 5]
)
def test_a_foreign_or_shapeless_header_implies_nothing(payload: Any) -> None:
    if isinstance(payload, dict) and payload:
        payload["memory_mode"] = "disabled"
    assert _said(RolloutItem("session_meta", payload)) == {}


def test_the_memory_mode_of_a_fork_source_does_not_leak_into_the_fork() -> None:
    observer = FactObserver(_ID)
    observer.observe(_meta())
    assert observer.observe(_meta(id=_OTHER, memory_mode="disabled")) is None
    assert observer.memory_mode is None


def test_an_unreadable_time_never_unsets_an_earlier_one() -> None:
    facts = _said(_meta(), _meta(timestamp="whenever"))
    assert facts["created_at"] == _said(_meta())["created_at"]


def test_a_later_header_with_git_replaces_git_as_a_whole_and_one_without_keeps_it() -> None:
    first = _meta(git={"commit_hash": "c", "branch": "main"})
    assert _said(first, _meta(git={"commit_hash": "d"}))["git"] == GitInfoPatch(
        sha="d", branch=None, origin_url=None
    )
    kept = _said(first, _meta(memory_mode="disabled"))
    assert kept["git"] == GitInfoPatch(sha="c", branch="main", origin_url=None)


def test_a_partial_later_header_clears_no_agent_facts_but_a_written_null_does() -> None:
    first = _meta(agent_nickname="Ada", thread_source="user")
    assert _said(first, _meta())["agent_nickname"] == "Ada"
    assert _said(first, _meta(agent_nickname=None))["agent_nickname"] is None


def test_turn_contexts_give_settings_and_a_cwd_only_while_there_is_none() -> None:
    context = _context(
        cwd="/late",
        model="gpt",
        effort="high",
        approval_policy="never",
        sandbox_policy={"type": "read-only"},
        permission_profile={"type": "disabled"},
    )
    expected = {
        "model": "gpt",
        "reasoning_effort": "high",
        "approval_mode": "never",
        "sandbox_policy": {"type": "read-only"},
        "permission_profile": {"type": "disabled"},
    }
    assert _said(context, cwd_seen=True) == expected
    assert _said(context) == {**expected, "cwd": "/late"}
    assert _said(_context(cwd="/a"), _context(cwd="/b"))["cwd"] == "/a"
    assert _said(_meta(cwd=""), _context(cwd="/a"))["cwd"] == "/a"
    assert "cwd" not in _said(_context(cwd=""))


def test_the_newest_turn_context_wins_also_where_it_says_nothing_about_effort() -> None:
    facts = _said(_context(model="a", effort="high"), _context(model="b"))
    assert (facts["model"], facts["reasoning_effort"]) == ("b", None)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"sandbox_policy": {"mode": "danger-full-access"}},
            {"sandbox_policy": {"type": "danger-full-access"}},
        ),
        (
            {"sandbox_policy": {"mode": "workspace-write", "network_access": True}},
            {"sandbox_policy": {"type": "workspace-write", "network_access": True}},
        ),
        ({"sandbox_policy": "read-only"}, {}),
        ({"permission_profile": {"file_system": None, "network": None}}, {}),
        (
            {"approval_policy": {"granular": {"rules": True}}},
            {"approval_mode": {"granular": {"rules": True}}},
        ),
        ({"approval_policy": 5, "model": "m"}, {"model": "m"}),
        ({"model": "", "approval_policy": "never"}, {"approval_mode": "never"}),
    ],
)
def test_rows_of_the_turn_context(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert _said(_context(**fields)) == {**expected, "reasoning_effort": None}


def test_an_effort_of_a_wrong_type_is_left_alone() -> None:
    assert "reasoning_effort" not in _said(_context(model="m", effort=5))


def test_applied_settings_override_everything_and_their_cwd_counts_always() -> None:
    settings = {
        "model": "gpt",
        "model_provider_id": "azure",
        "cwd": "/moved",
        "approval_policy": "on-request",
        "permission_profile": {"type": "disabled"},
        "collaboration_mode": {"mode": "default", "settings": {"reasoning_effort": "low"}},
    }
    facts = _said(_meta(), _event("thread_settings_applied", thread_settings=settings))
    assert facts["model_provider"] == "azure"
    assert facts["cwd"] == "/moved"
    assert facts["reasoning_effort"] == "low"
    assert facts["approval_mode"] == "on-request"
    own = {**settings, "reasoning_effort": "high"}
    assert (
        _said(_event("thread_settings_applied", thread_settings=own))["reasoning_effort"] == "high"
    )
    assert _said(_event("thread_settings_applied", thread_settings=None)) == {}
    del settings["collaboration_mode"]
    assert (
        _said(_event("thread_settings_applied", thread_settings=settings))["reasoning_effort"]
        is None
    )


def test_settings_copied_from_another_thread_do_not_move_a_fork() -> None:
    settings = {"model": "m", "model_provider_id": "azure", "cwd": "/source"}
    copied = _event("thread_settings_applied", thread_id="other", thread_settings=settings)
    facts = _said(_meta(cwd="/fork"), copied)
    assert (facts["cwd"], facts["model"]) == ("/fork", "m")
    assert facts.get("model_provider") != "azure"
    own = _event("thread_settings_applied", thread_id=_ID, thread_settings=settings)
    assert _said(_meta(cwd="/fork"), copied, own)["cwd"] == "/source"


def test_the_first_user_message_gives_text_preview_and_title_and_later_ones_nothing() -> None:
    assert _said(_user("hello\nworld "), _user("again")) == _texts("hello\nworld")
    assert _said(_typed({"type": "text", "text": "hi"}), _user("again")) == _texts("hi")


def test_an_image_alone_is_a_preview_but_no_title_and_the_next_text_becomes_the_title() -> None:
    facts = _said(_user("", images=["data:x"]), _user("what is it?"))
    assert facts == {"first_user_message": "[Image]", "preview": "[Image]", "title": "what is it?"}


def test_each_first_only_field_has_its_own_flag() -> None:
    goal = _event("thread_goal_updated", goal={"objective": " ship it "})
    assert _said(goal, _user("hello")) == {
        "preview": "ship it",
        "first_user_message": "hello",
        "title": "hello",
    }
    assert _said(_user("hello"), goal)["preview"] == "hello"
    assert _said(_user("x"), preview_seen=True) == {"first_user_message": "x", "title": "x"}
    assert _said(_user("x"), title_seen=True, first_user_message_seen=True) == {"preview": "x"}
    everything = {"preview_seen": True, "title_seen": True, "first_user_message_seen": True}
    assert _said(_user("x"), **everything) == {}


@pytest.mark.parametrize("goal", [{"objective": "  "}, {"objective": 5}, {}, None, "x"])
def test_a_goal_without_an_objective_implies_nothing(goal: Any) -> None:
    assert _said(_event("thread_goal_updated", goal=goal)) == {}


def test_a_blank_message_implies_nothing_and_spends_no_flag() -> None:
    assert _said(_user("  "), _user("real")) == _texts("real")
    assert _said(_event("user_message", message=5)) == {}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"output": " do it "}, "do it"),
        ({"output": [{"type": "input_text", "text": "do it"}]}, "do it"),
        (
            {"output": "noise <codex_delegation>a &lt;b&gt; &amp;lt;</codex_delegation>"},
            "a <b> &lt;",
        ),
        ({"output": "x", "namespace": "codex_tui", "name": "send_message_to_thread"}, "x"),
        ({"output": "x", "namespace": "mcp"}, None),
        ({"output": "x", "name": "exec_command"}, None),
        ({"output": "  "}, None),
        ({"output": 5}, None),
    ],
)
def test_a_delegated_task_is_a_preview(fields: dict[str, Any], expected: str | None) -> None:
    item = {"namespace": "codex_app", "name": "create_thread", **fields}
    assert _said(_done("FunctionCallOutput", **item)) == ({"preview": expected} if expected else {})
    assert _said(_done("FunctionCallOutput", **item), preview_seen=True) == {}


def test_the_newest_usage_counts_and_events_without_info_say_nothing() -> None:
    def count(total: int) -> RolloutItem:
        usage = {**_USAGE, "total_tokens": total}
        return _event("token_count", info={"total_token_usage": usage}, rate_limits=None)

    expected = TokenUsage(input_tokens=5, cached_input_tokens=1, output_tokens=2, total_tokens=4)
    assert _said(count(9), count(4), _event("token_count", info=None)) == {
        "token_usage": expected,
        "usage": ThreadUsage(own={"unknown": msgspec.structs.replace(expected, total_tokens=7)}),
    }
    assert _said(_event("token_count", info={"total_token_usage": 5})) == {}


@pytest.mark.parametrize("kind", ["task_started", "turn_started"])
def test_a_turn_start_moves_recency_to_now_or_to_its_own_time(kind: str) -> None:
    stamped = _event(kind, "2026-11-22T06:00:00.000Z", turn_id="t", started_at=1_795_000_000)
    assert _said(stamped) == {"advance_recency_at": _NOW}
    moment = dt.datetime(2026, 11, 22, 6, tzinfo=UTC)
    assert fold(_ID, [stamped]).advance_recency_at == moment
    unstamped = _event(kind, started_at=1_795_000_000)
    assert fold(_ID, [unstamped]).advance_recency_at == dt.datetime.fromtimestamp(
        1_795_000_000, UTC
    )
    assert fold(_ID, [_event(kind, started_at="soon")]).is_empty()
    assert fold(_ID, [_event(kind, started_at=10**30)]).is_empty()


def test_folding_keeps_the_latest_turn_start_whatever_the_order() -> None:
    early, late = "2026-11-22T05:00:00.000Z", "2026-11-22T06:00:00.000Z"
    starts = [_event("task_started", moment) for moment in (late, early)]
    assert fold(_ID, starts).advance_recency_at == dt.datetime(2026, 11, 22, 6, tzinfo=UTC)


def test_without_turn_starts_a_user_message_is_one_when_history_is_folded() -> None:
    message = _event("user_message", "2025-11-22T06:00:00.000Z", message="x")
    assert fold(_ID, [message]).advance_recency_at == dt.datetime(2025, 11, 22, 6, tzinfo=UTC)
    start = _event("task_started", "2025-01-01T00:00:00.000Z")
    assert fold(_ID, [start, message]).advance_recency_at == dt.datetime(2025, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "item",
    [
        RolloutItem(
            "response_item", {"type": "message", "role": "user", "content": [{"text": "x"}]}
        ),
        RolloutItem("compacted", {"message": "summary"}),
        RolloutItem("world_state", {"cwd": "/x", "model": "m"}),
        RolloutItem("token_usage_record", {"usage": None}),
        RolloutItem("tomorrow", {"cwd": "/x"}),
        RolloutItem("turn_context", None),
        RolloutItem("event_msg", None),
        _event("agent_message", message="x"),
        _event("task_complete", turn_id="t"),
        _event("thread_name_updated", thread_name="x"),
        _event("item_completed", item=None),
        _done("AgentMessage", content=[{"type": "Text", "text": "x"}]),
        _done("Plan", text="x"),
    ],
)
def test_everything_else_implies_nothing(item: RolloutItem) -> None:
    assert FactObserver(_ID).observe(item, now=_NOW) is None


def test_the_oldest_histories_give_text_and_cwd_from_their_messages() -> None:
    def message(text: str, role: str = "user") -> RolloutItem:
        content = [{"type": "input_text", "text": text}]
        return RolloutItem("response_item", {"type": "message", "role": role, "content": content})

    patch = fold(
        _ID,
        [
            RolloutItem.parse(b'{"id":"%s","timestamp":"2025-09-01T10:00:00.000Z"}' % _ID.encode()),
            message("<user_instructions>be nice</user_instructions>"),
            message("<environment_context>\n  <cwd>/old</cwd>\n</environment_context>"),
            message("ignored", role="assistant"),
            message("fix it"),
            message("more"),
        ],
    )
    assert (patch.title, patch.preview, patch.cwd, patch.source) == (
        "fix it",
        "fix it",
        "/old",
        "vscode",
    )


_ITEMS = [
    _meta(),
    _meta(git={"branch": "b"}, memory_mode="disabled"),
    _meta(id=_OTHER, cwd="/foreign"),
    _context(cwd="/c", model="m", effort="low"),
    _context(model="n"),
    _user("one"),
    _user("", images=["x"]),
    _typed({"type": "text", "text": "two"}),
    _event("thread_goal_updated", goal={"objective": "goal"}),
    _event("token_count", info={"total_token_usage": _USAGE}),
    _event("task_started", "2026-11-22T06:00:00.000Z"),
    _event("thread_settings_applied", thread_settings={"model": "s", "cwd": "/s"}),
    _event("agent_message", message="x"),
]


@given(st.lists(st.sampled_from(_ITEMS), max_size=12))
def test_a_batch_implies_what_its_items_imply_one_by_one(items: list[RolloutItem]) -> None:
    one_by_one = FactObserver(_ID)
    merged = ThreadMetadataPatch()
    for item in items:
        merged = merged.merge(one_by_one.observe(item) or ThreadMetadataPatch())
    assert fold(_ID, items) == merged


@given(st.lists(st.sampled_from(_ITEMS), max_size=8))
def test_parsed_items_imply_what_made_ones_do(items: list[RolloutItem]) -> None:
    assert fold(_ID, [RolloutItem.parse(item.line()) for item in items]) == fold(_ID, items)


_scraps = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_KEYS = [
    *_META,
    "git",
    "memory_mode",
    "agent_role",
    "sandbox_policy",
    "approval_policy",
    "effort",
    "model",
    "message",
    "images",
    "info",
    "goal",
    "item",
    "thread_settings",
    "started_at",
]
_KINDS = [
    "user_message",
    "token_count",
    "thread_goal_updated",
    "thread_settings_applied",
    "item_completed",
    "task_started",
]


@given(
    st.sampled_from(["session_meta", "turn_context", "event_msg"]),
    st.sampled_from(_KINDS),
    st.dictionaries(st.sampled_from(_KEYS), _scraps),
)
def test_no_shape_of_a_payload_is_an_error(kind: str, event: str, fields: dict[str, Any]) -> None:
    payload = {"id": _ID, **fields, "type": event}
    fold(_ID, [RolloutItem(kind, payload)])
