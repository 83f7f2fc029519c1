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
from threadstore.cli.table import Column, Frame, fit
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


@pytest.mark.parametrize(
    ("line", "rows"),
    [
        ("", [""]),
        ("one two", ["one two"]),
        ("one two three", ["one two", "three"]),
        ("one  two   three", ["one  two", "three"]),
        ("a-very-long-word it is", ["a-very-l", "ong-word", "it is"]),
        ("日本語のテキスト", ["日本語の", "テキスト"]),
        ("    deep code", ["    deep", "code"]),
    ],
)
def test_long_lines_are_broken_at_blanks(line: str, rows: list[str]) -> None:
    assert text.wrap(line, 8) == rows


@given(st.text(max_size=60), st.integers(2, 20))
def test_broken_lines_fit_and_lose_nothing_but_blanks(line: str, columns: int) -> None:
    rows = text.wrap(line, columns)
    assert all(text.width(row) <= columns for row in rows)
    assert "".join("".join(rows).split()) == "".join(line.split())


@given(st.text())
def test_one_line_is_one_harmless_line(words: str) -> None:
    line = text.one_line(words)
    assert line.splitlines() in ([], [line])
    assert all(char.isprintable() or char.isspace() for char in line if ord(char) < 0xA0)
    line.encode()


@pytest.mark.parametrize(
    ("words", "columns"),
    [
        ("plain", 5),
        ("日本", 4),
        ("e\u0301", 1),
        ("zero\u200bwidth", 9),
        ("\u2764", 1),
        ("\u2764\ufe0f", 2),
        ("\U0001f44d\U0001f3fd", 2),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", 2),
        ("\U0001f1e8\U0001f1ed", 2),
    ],
)
def test_a_sequence_of_characters_takes_the_columns_of_what_is_seen(
    words: str, columns: int
) -> None:
    assert text.width(words) == columns


LIST = (
    Column("id"),
    Column("name", least=10, weight=2),
    Column("path", least=6, keeps_end=True, optional=True),
    Column("note", optional=True),
)
ROW = ("1234", "n" * 40, "/a/long/path/to/the/place", "seen")
FRAME = Frame(edges=4, between=3)


@pytest.mark.parametrize(
    ("screen", "row"),
    [
        (100, ["1234", "n" * 40, "/a/long/path/to/the/place", "seen"]),
        (57, ["1234", "n" * 23 + "…", "…o/the/place", "seen"]),
        (37, ["1234", "n" * 9 + "…", "…place", "seen"]),
        (36, ["1234", "n" * 14 + "…", "…/place"]),
        (29, ["1234", "n" * 17 + "…"]),
        (16, ["1234", "nnnn…"]),
    ],
)
def test_a_table_is_cut_and_then_loses_columns_to_fit(screen: int, row: list[str]) -> None:
    assert fit(LIST, [ROW], screen, FRAME).rows == [row]


@given(
    st.lists(st.tuples(*[st.text(max_size=30)] * 4)),
    st.integers(30, 60),
)
def test_a_fitted_table_never_exceeds_the_screen(rows: list[tuple[str, ...]], screen: int) -> None:
    columns = tuple(Column(name, least=3, keeps_end=name == "b") for name in "abcd")
    table = fit(columns, rows, screen, FRAME)
    assert sum(table.widths) + FRAME.edges + FRAME.between * 3 <= screen
    for row in table.rows:
        assert all(text.width(cell) <= size for cell, size in zip(row, table.widths, strict=True))


def told(*history: Any) -> list[Entry]:
    return list(entries(turn_of(*history)))


def test_commands_of_legacy_threads_are_told_from_the_calls() -> None:
    history = (
        items.user_message("run it"),
        items.function_call("c1", "exec_command", '{"cmd": "echo  hi"}'),
        items.function_call_output("c1", "hi"),
        items.function_call("c2", "shell", '{"command": ["ls", "-l"]}'),
        items.function_call("c5", "shell", '{"command": ["bash", "-lc", "make test"]}'),
        items.function_call("c3", "lookup", "not json"),
        items.response("custom_tool_call", name="apply_patch", input="*** Begin", call_id="c4"),
        items.response("local_shell_call", action={"command": ["pwd"]}, call_id="c5"),
    )
    assert [entry.text for entry in told(*history) if entry.role == "tool"] == [
        "$ echo hi", "$ ls -l", "$ make test", "lookup not json", "apply_patch *** Begin", "$ pwd"
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
