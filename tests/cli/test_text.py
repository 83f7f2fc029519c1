"""Text for people, tables, and conversations of any shape."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.protocol.test_codex_items import COMPLETED, FIELDS, JSON, KINDS, turn_of

from threadstore.cli import text
from threadstore.cli.conversation import Entry, entries, turn_facts
from threadstore.cli.markdown import section
from threadstore.cli.table import Column, fit
from threadstore.clock import UTC
from threadstore.history.turns import StoredTurn, TurnError
from threadstore.testing import items

NOW = dt.datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (86_399, "23 h ago"),
        (86_400, "1 day ago"),
        (29 * 86_400, "29 days ago"),
        (30 * 86_400, "2026-02-02"),
    ],
)
def test_times_are_told_as_people_tell_them(seconds: int, words: str) -> None:
    assert text.ago(NOW - dt.timedelta(seconds=seconds), NOW) == words


def test_a_time_in_the_future_is_its_day() -> None:
    assert text.ago(NOW + dt.timedelta(days=3), NOW) == "2026-03-07"


@given(st.text(max_size=40), st.integers(1, 20))
def test_cut_text_fits(words: str, columns: int) -> None:
    assert text.width(text.cut(words, columns)) <= columns


@given(st.text())
def test_one_line_is_one_harmless_line(words: str) -> None:
    line = text.one_line(words)
    assert line.splitlines() in ([], [line])
    assert all(char.isprintable() or char.isspace() for char in line if ord(char) < 0xA0)
    line.encode()


def test_a_table_shrinks_its_widest_columns_first() -> None:
    columns = (
        Column("id"),
        Column("name", shrinks=True),
        Column("path", shrinks=True, keeps_end=True),
    )
    widths, rows = fit(columns, [("1234", "n" * 40, "/a/long/path/to/the/place")], 50)
    assert widths == [4, 23, 23]
    assert rows == [["1234", "n" * 22 + "…", "…long/path/to/the/place"]]


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30))), st.integers(30, 60))
def test_a_fitted_table_never_exceeds_the_room(rows: list[tuple[str, str]], room: int) -> None:
    columns = (Column("a", shrinks=True), Column("b", shrinks=True, keeps_end=True))
    widths, cells = fit(columns, rows, room)
    assert sum(widths) <= room
    for row in cells:
        assert [text.width(cell) <= size for cell, size in zip(row, widths, strict=True)]


def told(*history: Any) -> list[Entry]:
    return list(entries(turn_of(*history)))


def test_commands_of_legacy_threads_are_told_from_the_calls() -> None:
    history = (
        items.user_message("run it"),
        items.function_call("c1", "exec_command", '{"cmd": "echo  hi"}'),
        items.function_call_output("c1", "hi"),
        items.function_call("c2", "shell", '{"command": ["ls", "-l"]}'),
        items.function_call("c3", "lookup", "not json"),
        items.response("custom_tool_call", name="apply_patch", input="*** Begin", call_id="c4"),
        items.response("local_shell_call", action={"command": ["pwd"]}, call_id="c5"),
    )
    assert [entry.text for entry in told(*history) if entry.role == "tool"] == [
        "$ echo hi", "$ ls -l", "lookup not json", "apply_patch *** Begin", "$ pwd"
    ]  # fmt: skip


def test_a_call_that_left_an_event_is_told_once() -> None:
    command = {"type": "CommandExecution", "id": "c", "command": ["/bin/bash", "-lc", "false"]}
    history = (
        items.function_call("c", "exec_command", '{"cmd": "false"}'),
        items.item_completed("th", "t", {**command, "exit_code": 1}),
    )
    assert told(*history) == [Entry("tool", "$ false (exit 1)")]


def test_messages_count_only_where_no_events_tell_them() -> None:
    spoken = (items.user_response("hi"), items.assistant_response("hello"))
    assert told(*spoken) == [Entry("user", "hi"), Entry("agent", "hello")]
    assert told(*spoken, items.user_message("hi")) == [Entry("user", "hi")]
    assert told(items.user_response("<environment_context>…")) == []


def test_a_failed_turn_says_why() -> None:
    failed = StoredTurn(
        id="t",
        status="failed",
        error=TurnError(message="quota exceeded"),
        first_position=1,
        last_position=1,
    )
    assert turn_facts(failed) == "failed: quota exceeded"
    assert "*Turn failed: quota exceeded.*" in section(failed)


@given(
    st.sampled_from(KINDS),
    st.sampled_from(COMPLETED),
    st.dictionaries(st.sampled_from([*FIELDS, "name", "arguments", "action"]), JSON, max_size=6),
)
def test_a_conversation_of_any_shape_can_be_told(
    kind: str, item_type: str, fields: dict[str, Any]
) -> None:
    event = items.event(kind, **{"item": {"type": item_type, **fields}, **fields})
    model = [
        items.response(call, **fields)
        for call in ("function_call", "custom_tool_call", "local_shell_call", "message")
    ]
    section(turn_of(event, *model))
