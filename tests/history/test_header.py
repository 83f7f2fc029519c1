"""Headers: the widest form is written, every form is read."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.clock import UTC
from threadstore.history.header import (
    HeaderView,
    SegmentBase,
    is_bare_header,
    is_header_of,
    read_header,
    session_meta_item,
)
from threadstore.history.items import RolloutItem
from threadstore.metadata import GitInfo, NewThread

_ID = "01a201e5-a996-7a61-8db2-c256091e8939"
_PARENT = "01a201e5-0000-7a61-8db2-c256091e8939"
_BORN = dt.datetime(2026, 11, 22, 5, 43, 13, 739000, tzinfo=UTC)


def _written(new: NewThread, **options: Any) -> dict[str, Any]:
    item = session_meta_item(new, thread_id=_ID, created_at=_BORN, cli_version="0.131.0", **options)
    payload: dict[str, Any] = json.loads(item.line())["payload"]
    return payload


def test_the_smallest_header_is_what_codex_writes_without_options() -> None:
    payload = _written(NewThread(cwd="/repo", originator="h"), model_provider="mock")
    assert list(payload.items()) == [
        ("session_id", _ID),
        ("id", _ID),
        ("timestamp", "2026-11-22T05:43:13.739Z"),
        ("cwd", "/repo"),
        ("originator", "h"),
        ("cli_version", "0.131.0"),
        ("source", "cli"),
        ("model_provider", "mock"),
        ("base_instructions", None),
        ("history_mode", "legacy"),
    ]


_FULL = NewThread(
    cwd="/repo",
    session_id=_PARENT,
    forked_from_id=_PARENT,
    parent_thread_id=_PARENT,
    history_mode="paginated",
    source={"custom": "atlas"},
    thread_source="user",
    agent_nickname="Ada",
    agent_role="explorer",
    agent_path="/main/ada",
    cli_version="9.9.9",
    model_provider="azure",
    base_instructions="You are …",
    dynamic_tools=({"type": "function", "name": "f"},),
    memory_mode="disabled",
    git=GitInfo(sha="c", branch="main", origin_url="https://u:sekret@h/x.git"),
)
_BASE = SegmentBase(thread_id=_PARENT, end_ordinal_exclusive=115, end_byte_offset=137083)


def test_the_largest_header_has_codex_keys_in_codex_order() -> None:
    payload = _written(_FULL, model_provider="ignored", history_base=_BASE)
    assert list(payload) == [
        "session_id",
        "id",
        "forked_from_id",
        "forked_from_ordinal_exclusive",
        "parent_thread_id",
        "timestamp",
        "cwd",
        "originator",
        "cli_version",
        "source",
        "thread_source",
        "agent_nickname",
        "agent_role",
        "agent_path",
        "model_provider",
        "base_instructions",
        "dynamic_tools",
        "memory_mode",
        "history_mode",
        "history_base",
        "git",
    ]
    assert payload["cli_version"] == "9.9.9"
    assert payload["model_provider"] == "azure"
    assert payload["base_instructions"] == {"text": "You are …"}
    assert payload["forked_from_ordinal_exclusive"] == 115
    assert payload["history_base"] == {
        "thread_id": _PARENT,
        "end_ordinal_exclusive": 115,
        "end_byte_offset": 137083,
    }
    assert payload["git"] == {
        "commit_hash": "c",
        "branch": "main",
        "repository_url": "https://h/x.git",
    }


@pytest.mark.parametrize(("parent", "written"), [(_PARENT, _PARENT), ("no id", None)])
def test_the_header_of_a_spawned_thread_names_its_parent_and_its_agent(
    parent: str, written: str | None
) -> None:
    """Codex looks for them there, and drops a header that names something that is no id."""
    agent = {"agent_nickname": "Mendel", "agent_role": "explorer", "agent_path": "/agents/mendel"}
    spawn = {"subagent": {"thread_spawn": {"parent_thread_id": parent, "depth": 1, **agent}}}
    item = session_meta_item(
        NewThread(cwd="/repo", source=spawn), thread_id=_ID, created_at=_BORN, cli_version="0.131.0"
    )
    assert item.payload.get("parent_thread_id") == written
    assert item.payload.items() >= agent.items()


def test_a_written_header_is_read_back_field_by_field() -> None:
    item = session_meta_item(
        _FULL, thread_id=_ID, created_at=_BORN, cli_version="0", history_base=_BASE
    )
    header = read_header(RolloutItem.parse(item.line()))
    assert header == HeaderView(
        id=_ID,
        session_id=_PARENT,
        timestamp=_BORN,
        cwd="/repo",
        originator="threadstore",
        cli_version="9.9.9",
        source={"custom": "atlas"},
        thread_source="user",
        agent_nickname="Ada",
        agent_role="explorer",
        agent_path="/main/ada",
        model_provider="azure",
        base_instructions="You are …",
        dynamic_tools=({"type": "function", "name": "f"},),
        memory_mode="disabled",
        history_mode="paginated",
        forked_from_id=_PARENT,
        forked_from_ordinal_exclusive=115,
        parent_thread_id=_PARENT,
        history_base=_BASE,
        has_git=True,
        git=GitInfo(sha="c", branch="main", origin_url="https://h/x.git"),
    )


@pytest.mark.parametrize("git", [None, GitInfo()])
def test_no_git_facts_no_git_key(git: GitInfo | None) -> None:
    assert "git" not in _written(NewThread(cwd="", git=git))
    assert _written(NewThread(cwd=""))["cwd"] == ""


def test_a_thread_without_a_provider_says_null_as_codex_does() -> None:
    assert _written(NewThread(cwd=""))["model_provider"] is None


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        ({"timestamp": "2026-11-22T05-43-13"}, "timestamp", _BORN.replace(microsecond=0)),
        ({"timestamp": 5}, "timestamp", None),
        ({"source": "exec"}, "source", "exec"),
        ({"source": "martian"}, "source", "unknown"),
        ({"source": None}, "source", "unknown"),
        ({"source": {"subagent": {"new": 1}}}, "source", {"subagent": {"new": 1}}),
        ({"source": {"custom": 5}}, "source", "unknown"),
        ({}, "source", None),
        ({"agent_type": "x"}, "agent_role", "x"),
        ({"source": {"subagent": {"thread_spawn": {"agent_type": "x"}}}}, "agent_role", "x"),
        (
            {"source": {"subagent": {"thread_spawn": {"parent_thread_id": _PARENT.upper()}}}},
            "parent_thread_id",
            _PARENT,
        ),
        ({"forked_from_id": "nonsense"}, "forked_from_id", None),
        ({"base_instructions": "bare"}, "base_instructions", None),
        ({"base_instructions": {"text": "t", "provenance": {}}}, "base_instructions", "t"),
        ({"dynamic_tools": [{"name": "a"}, 5]}, "dynamic_tools", ({"name": "a"},)),
        ({"dynamic_tools": None}, "dynamic_tools", ()),
        ({"memory_mode": "polluted"}, "memory_mode", "polluted"),
        ({"history_mode": "future"}, "history_mode", "future"),
        ({"history_base": {"thread_id": _PARENT}}, "history_base", None),
        ({"history_base": 5}, "history_base", None),
        ({"forked_from_ordinal_exclusive": -1}, "forked_from_ordinal_exclusive", None),
        ({"forked_from_ordinal_exclusive": True}, "forked_from_ordinal_exclusive", None),
        ({"git": {}}, "has_git", True),
        ({"git": {}}, "git", None),
        ({"git": None}, "has_git", False),
        ({"git": {"branch": 5, "commit_hash": "c"}}, "git", GitInfo(sha="c")),
    ],
)
def test_every_form_of_a_field(fields: dict[str, Any], name: str, expected: object) -> None:
    header = read_header(RolloutItem("session_meta", {"id": _ID, **fields}))
    assert header is not None
    assert header.id == _ID
    assert getattr(header, name) == expected


@pytest.mark.parametrize("spelling", [_ID, _ID.upper(), _ID.replace("-", ""), f"urn:uuid:{_ID}"])
def test_the_id_of_a_header_may_have_any_spelling(spelling: str) -> None:
    assert is_header_of(RolloutItem("session_meta", {"id": spelling}), _ID)


@pytest.mark.parametrize(
    "item",
    [
        RolloutItem("session_meta", {"id": _PARENT}),
        RolloutItem("session_meta", {"id": None}),
        RolloutItem("session_meta", None),
        RolloutItem("turn_context", {"id": _ID}),
    ],
)
def test_nothing_else_is_the_header_of_a_thread(item: RolloutItem) -> None:
    assert not is_header_of(item, _ID)


def test_headers_of_the_oldest_releases_are_recognised() -> None:
    line = b'{"id":"%s","timestamp":"2025-08-01T10:00:00.000Z","instructions":null}' % _ID.encode()
    bare = RolloutItem.parse(line)
    assert is_bare_header(bare)
    assert is_header_of(bare, _ID)
    assert not is_bare_header(RolloutItem("session_meta", {"id": _ID, "cwd": "/"}))
    assert not is_bare_header(RolloutItem("event_msg", {}))


_scraps = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({"text": 5})


@given(st.dictionaries(st.sampled_from(HeaderView.__struct_fields__), _scraps))
def test_no_shape_of_a_header_is_an_error(payload: dict[str, Any]) -> None:
    header = read_header(RolloutItem("session_meta", payload))
    assert header is not None
    assert read_header(RolloutItem("event_msg", payload)) is None
