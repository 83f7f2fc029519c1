"""Items to turns: both history forms, the oldest ones, and every odd order on disk."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from threadstore.clock import UTC
from threadstore.history.items import RolloutItem
from threadstore.history.turns import StoredTurn, TurnBuilder, TurnError, build_turns

_TIME = "2026-11-22T05:00:00.000Z"
_MOMENT = dt.datetime(2026, 11, 22, 5, tzinfo=UTC)


def _event(kind: str, /, **fields: Any) -> RolloutItem:
    return RolloutItem("event_msg", {"type": kind, **fields}, _TIME)


def _start(turn_id: str, **fields: Any) -> RolloutItem:
    return _event("task_started", turn_id=turn_id, **fields)


def _end(turn_id: str | None, **fields: Any) -> RolloutItem:
    return _event("task_complete", turn_id=turn_id, **fields)


def _abort(turn_id: str | None, **fields: Any) -> RolloutItem:
    return _event("turn_aborted", turn_id=turn_id, reason="interrupted", **fields)


def _rollback(count: Any) -> RolloutItem:
    return _event("thread_rolled_back", num_turns=count)


def _done(kind: str, turn_id: str) -> RolloutItem:
    return _event("item_completed", turn_id=turn_id, item={"type": kind, "id": "i"})


def _message(role: str, text: str = "x") -> RolloutItem:
    payload = {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}
    return RolloutItem("response_item", payload, _TIME)


META = RolloutItem("session_meta", {"id": "x", "cwd": "/"}, _TIME)
USER = _event("user_message", message="hi")
AGENT = _event("agent_message", message="ho")
TOKENS = _event("token_count", info=None)
COMPACTED = RolloutItem("compacted", {"message": "summary"}, _TIME)


def _shape(turns: tuple[StoredTurn, ...]) -> list[tuple[str, str, int, int]]:
    return [(turn.id, turn.status, turn.first_position, turn.last_position) for turn in turns]


def test_a_turn_goes_from_its_start_to_its_end_with_what_the_events_say() -> None:
    (turn,) = build_turns(
        [
            META,
            _start("a", started_at=1_795_000_000),
            _message("user"),
            USER,
            AGENT,
            TOKENS,
            _end("a", completed_at=1_795_000_002, duration_ms=1500),
        ]
    )
    assert (turn.id, turn.status, turn.error, turn.duration_ms) == ("a", "completed", None, 1500)
    assert turn.started_at == dt.datetime.fromtimestamp(1_795_000_000, UTC)
    assert turn.completed_at == dt.datetime.fromtimestamp(1_795_000_002, UTC)
    assert (turn.first_position, turn.last_position) == (2, 7)
    assert [item.kind for item in turn.items][0::5] == ["task_started", "task_complete"]


def test_times_come_from_the_lines_where_the_events_have_none() -> None:
    (turn,) = build_turns(
        [_event("turn_started", turn_id="a"), _event("turn_complete", turn_id="a")]
    )
    assert (turn.status, turn.started_at, turn.completed_at) == ("completed", _MOMENT, _MOMENT)
    (odd,) = build_turns(
        [_start("a", started_at="soon"), _end("a", completed_at=10**30, duration_ms="x")]
    )
    assert (odd.started_at, odd.completed_at, odd.duration_ms) == (_MOMENT, _MOMENT, None)
    assert turn.estimated == odd.estimated == {"started_at", "completed_at"}
    (said,) = build_turns([_start("a", started_at=1), _end("a", completed_at=2)])
    assert said.estimated == frozenset()


@pytest.mark.parametrize("info", [[], [1], 3, {"other": {}}, {}])
def test_a_reason_of_an_unknown_shape_fails_the_turn_all_the_same(info: object) -> None:
    turns = build_turns(
        [
            _event("task_started", turn_id="t"),
            _event("error", message="x", codex_error_info=info),
        ]
    )
    assert [turn.status for turn in turns] == ["failed"]


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([_start("a"), USER, _end("a")], "completed"),
        ([_start("a"), USER, _end(None)], "completed"),
        ([_start("a"), USER, _abort("a")], "interrupted"),
        ([_start("a"), USER, _abort(None)], "interrupted"),
        ([_start("a"), USER, _abort("a"), _end("a")], "interrupted"),
        ([_start("a"), USER, _end("a", error={"message": "boom"})], "failed"),
        ([_start("a"), USER, _event("error", message="boom"), _end("a")], "failed"),
        (
            [
                _start("a"),
                _event("error", message="x", codex_error_info="thread_rollback_failed"),
                _end("a"),
            ],
            "completed",
        ),
        (
            [
                _start("a"),
                _event("error", message="x", codex_error_info={"active_turn_not_steerable": {}}),
            ],
            "interrupted",
        ),
        ([_start("a"), USER], "interrupted"),
        ([USER, AGENT], "completed"),
    ],
)
def test_how_a_turn_ended(events: list[RolloutItem], status: str) -> None:
    assert [turn.status for turn in build_turns(events)] == [status]


def test_the_reason_of_a_failure_is_kept() -> None:
    error = {
        "message": "boom",
        "codex_error_info": "rate_limit_exceeded",
        "additional_details": "d",
    }
    (turn,) = build_turns([_start("a"), _end("a", error=error)])
    assert turn.error == TurnError(message="boom", info="rate_limit_exceeded", details="d")
    (aborted,) = build_turns([_start("a"), _abort("a", error={"message": 5})])
    assert (aborted.status, aborted.error) == ("interrupted", TurnError(message=""))


def test_a_turn_without_an_end_is_going_on_only_in_a_live_thread_and_only_the_last() -> None:
    items = [_start("a"), USER, _start("b"), USER]
    live = build_turns(items, open_status="in_progress")
    assert [turn.status for turn in live] == ["interrupted", "in_progress"]
    assert [turn.status for turn in build_turns(items)] == ["interrupted", "interrupted"]


def test_a_second_start_closes_the_first_turn_and_a_repeated_one_does_not() -> None:
    assert _shape(build_turns([_start("a"), USER, _start("b"), USER, _end("b")])) == [
        ("a", "interrupted", 1, 2),
        ("b", "completed", 3, 5),
    ]
    assert _shape(build_turns([_start("a"), _start("a"), _end("a")])) == [("a", "completed", 1, 3)]


def test_a_late_end_of_a_finished_turn_changes_no_status_of_any_turn() -> None:
    turns = build_turns([_start("a"), _end("a"), _start("b"), _abort("a"), USER, _end("a")])
    assert [(turn.id, turn.status) for turn in turns] == [("a", "completed"), ("b", "interrupted")]
    assert [item.kind for item in turns[0].items][2:] == ["turn_aborted", "task_complete"]


def test_a_late_end_says_when_a_turn_ended_that_another_start_closed() -> None:
    late = _end("a", completed_at=1_795_000_002, duration_ms=7)
    first, second = build_turns([_start("a"), USER, _start("b"), late, USER])
    assert (first.status, second.status) == ("completed", "interrupted")
    assert first.completed_at == dt.datetime.fromtimestamp(1_795_000_002, UTC)
    assert first.duration_ms == 7


def test_the_end_of_an_unknown_turn_is_that_of_the_current_one() -> None:
    assert _shape(build_turns([_start("a"), USER, _end("review")])) == [("a", "completed", 1, 3)]
    assert build_turns([_end("nobody"), _abort(None)]) == ()


def test_what_follows_an_interruption_still_belongs_to_the_turn_until_the_next_begins() -> None:
    turns = build_turns([_start("a"), USER, _abort("a"), TOKENS, _start("b"), _end("b")])
    assert _shape(turns) == [("a", "interrupted", 1, 4), ("b", "completed", 5, 6)]
    reopened = build_turns([_start("a"), USER, _abort("a"), USER, AGENT])
    assert [turn.status for turn in reopened] == ["interrupted", "completed"]


def test_a_steered_message_belongs_to_the_turn_that_is_going_on() -> None:
    assert len(build_turns([_start("a"), USER, AGENT, USER, AGENT, _end("a")])) == 1


def test_without_turn_events_each_user_message_opens_a_turn() -> None:
    turns = build_turns([META, USER, AGENT, USER, AGENT])
    assert _shape(turns) == [("rollout-1", "completed", 2, 3), ("rollout-3", "completed", 4, 5)]
    assert [turn.started_at for turn in turns] == [_MOMENT, _MOMENT]


def test_in_the_old_order_the_models_copy_of_the_message_belongs_to_its_turn() -> None:
    turns = build_turns(
        [META, _message("user", "context"), _message("user"), USER, AGENT, _message("assistant"),
         _message("user"), USER, AGENT]
    )  # fmt: skip
    assert _shape(turns) == [("rollout-3", "completed", 2, 6), ("rollout-7", "completed", 7, 9)]


def test_headers_and_what_stands_between_turns_belongs_to_none() -> None:
    settings = _event("thread_settings_applied", thread_settings={})
    turns = build_turns(
        [META, settings, _start("a"), _end("a"), META, settings, _start("b"), _end("b")]
    )
    assert _shape(turns) == [("a", "completed", 3, 4), ("b", "completed", 7, 8)]


def test_an_old_review_is_torn_where_its_inner_turn_starts() -> None:
    turns = build_turns(
        [
            _start("a"),
            _end("a"),
            _event("entered_review_mode", target={}),
            _start("r"),
            USER,
            USER,
            _event("exited_review_mode", review_output=None),
            AGENT,
            _end("other"),
        ]
    )
    assert _shape(turns) == [
        ("a", "completed", 1, 2),
        ("rollout-2", "completed", 3, 3),
        ("r", "completed", 4, 9),
    ]


def test_a_review_that_names_its_turn_has_one_beside_the_inner_turn() -> None:
    turns = build_turns(
        [
            _event("entered_review_mode", target={}, turn_id="outer", item_id="in"),
            _start("inner", root_turn_id="outer"),
            USER,
            _event("exited_review_mode", review_output=None, turn_id="outer", item_id="out"),
            AGENT,
            _end("outer", completed_at=1_795_000_002),
        ]
    )
    assert _shape(turns) == [("outer", "completed", 1, 6), ("inner", "interrupted", 2, 5)]
    assert [turn.root_turn_id for turn in turns] == [None, "outer"]
    assert [len(turn.items) for turn in turns] == [3, 3]
    assert turns[0].completed_at == dt.datetime.fromtimestamp(1_795_000_002, UTC)


def test_a_turn_of_finished_items_alone_is_listed_where_it_ends() -> None:
    turns = build_turns(
        [
            _done("EnteredReviewMode", "outer"),
            _start("inner"),
            _done("UserMessage", "inner"),
            _done("ExitedReviewMode", "outer"),
            _end("outer", started_at=1_795_000_000, root_turn_id="outer"),
        ]
    )
    assert _shape(turns) == [("inner", "interrupted", 2, 3), ("outer", "completed", 1, 5)]
    assert [turn.listed_position for turn in turns] == [2, 5]
    assert turns[1].started_at == dt.datetime.fromtimestamp(1_795_000_000, UTC)
    assert turns[1].root_turn_id == "outer"


@pytest.mark.parametrize(
    ("count", "left"),
    [
        (0, ["a", "b"]),
        (1, ["a"]),
        (2, []),
        (100, []),
        (-1, ["a", "b"]),
        ("x", ["a", "b"]),
        (None, ["a", "b"]),
    ],
)
def test_rollback_drops_the_last_turns(count: Any, left: list[str]) -> None:
    items = [_start("a"), USER, _end("a"), _start("b"), USER, _end("b"), _rollback(count)]
    assert [turn.id for turn in build_turns(items)] == left


def test_rollback_first_finishes_the_current_turn_and_counts_implicit_ones() -> None:
    assert _shape(build_turns([USER, AGENT, USER, _rollback(0), AGENT, USER])) == [
        ("rollout-0", "completed", 1, 2),
        ("rollout-2", "completed", 3, 3),
        ("rollout-4", "completed", 5, 5),
        ("rollout-5", "completed", 6, 6),
    ]
    assert _shape(build_turns([_start("a"), USER, _rollback(1), _start("b"), _end("b")])) == [
        ("b", "completed", 4, 5)
    ]


def test_redone_turns_may_have_the_ids_of_those_that_were_rolled_back() -> None:
    items = [_start("a"), USER, _end("a")]
    assert _shape(build_turns([*items, _rollback(1), *items])) == [("a", "completed", 5, 7)]


def test_compaction_inside_a_turn_is_an_item_of_it() -> None:
    items = [_start("a"), USER, COMPACTED, _event("context_compacted"), AGENT, _end("a")]
    assert _shape(build_turns(items)) == [("a", "completed", 1, 6)]


def test_compaction_alone_opens_a_turn_which_the_first_user_message_continues() -> None:
    assert _shape(build_turns([USER, AGENT, COMPACTED])) == [("rollout-0", "completed", 1, 3)]
    assert _shape(build_turns([_start("a"), _end("a"), COMPACTED, USER, USER])) == [
        ("a", "completed", 1, 2),
        ("rollout-2", "completed", 3, 4),
        ("rollout-4", "completed", 5, 5),
    ]
    assert _shape(build_turns([COMPACTED])) == [("rollout-0", "completed", 1, 1)]


def test_completed_items_of_paginated_threads_go_to_the_turn_they_name() -> None:
    turns = build_turns(
        [
            META,
            _start("a"),
            _done("UserMessage", "a"),
            _done("AgentMessage", "a"),
            _end("a"),
            _start("b"),
            _done("UserMessage", "b"),
            _done("CommandExecution", "a"),
            _end("b"),
        ]
    )
    assert [len(turn.items) for turn in turns] == [5, 3]
    assert turns[0].items[-1].payload["item"]["type"] == "CommandExecution"
    assert (turns[0].last_position, turns[1].first_position) == (8, 6)


def test_completed_items_without_a_start_open_the_turn_they_name() -> None:
    turns = build_turns([META, _done("UserMessage", "a"), _done("AgentMessage", "a")])
    assert _shape(turns) == [("a", "completed", 2, 3)]


def test_an_agent_that_speaks_first_has_a_turn_of_its_own() -> None:
    assert _shape(build_turns([META, AGENT, TOKENS])) == [("rollout-1", "completed", 2, 3)]


def test_the_oldest_histories_have_a_turn_for_each_message_the_user_typed() -> None:
    bare = RolloutItem("session_meta", {"id": "x", "timestamp": _TIME, "instructions": None})
    context = _message("user", "<environment_context><cwd>/a</cwd></environment_context>")
    items = [bare, context, _message("user", "one"), _message("assistant"), _message("user", "two")]
    assert _shape(build_turns(items)) == [
        ("rollout-2", "completed", 2, 4),
        ("rollout-4", "completed", 5, 5),
    ]


def test_items_without_an_id_are_numbered_through_the_thread() -> None:
    quiet = _event("agent_message", message="")
    thought = _event("agent_reasoning", text="x")
    call = _event("patch_apply_end", call_id="c", changes={})
    turns = build_turns(
        [_start("a"), USER, quiet, thought, thought, call, AGENT, _end("a"), USER, AGENT, USER]
    )
    assert [turn.first_item_number for turn in turns] == [1, 4, 6]


def test_after_a_rollback_numbers_go_on_behind_all_items_that_are_left() -> None:
    call = _event("patch_apply_end", call_id="c", changes={})
    items = [USER, call, AGENT, USER, AGENT, _rollback(1), USER]
    assert [turn.first_item_number for turn in build_turns(items)] == [1, 4]


def test_lines_that_codex_cannot_read_do_not_count_in_the_names_of_turns() -> None:
    old_context = RolloutItem("turn_context", {"sandbox_policy": {"mode": "read-only"}})
    context = RolloutItem("turn_context", {"sandbox_policy": {"type": "read-only"}})
    extended = _event("exec_command_end", call_id="c")
    turns = build_turns([META, USER, old_context, context, extended, USER])
    assert [turn.id for turn in turns] == ["rollout-1", "rollout-3"]


def test_positions_of_a_store_are_used_where_items_have_them() -> None:
    items = [_start("a"), USER, _end("a")]
    for item, position in zip(items, (10, 12, 15), strict=True):
        item.position = position
    assert _shape(build_turns(items)) == [("a", "completed", 10, 15)]


_KINDS = [
    META, USER, AGENT, TOKENS, COMPACTED, _message("user"), _message("assistant"), _rollback(1),
    _start("a"), _start("b"), _end("a"), _end("b"), _end(None), _abort("a"), _abort(None),
    _done("UserMessage", "a"), _done("Plan", "c"), _event("context_compacted"),
    _event("entered_review_mode"), _event("error", message="x"), RolloutItem("event_msg", None),
    _event("task_started", turn_id=5), _event("item_completed"),
]  # fmt: skip
_histories = st.lists(st.sampled_from(_KINDS), max_size=25).map(
    lambda items: [RolloutItem(item.type, item.payload, item.timestamp) for item in items]
)


@given(_histories)
def test_no_order_of_items_is_an_error_and_turns_never_share_an_item(
    items: list[RolloutItem],
) -> None:
    turns = build_turns(items)
    owned = [id(item) for turn in turns for item in turn.items]
    assert len(owned) == len(set(owned))
    places = [turn.listed_position for turn in turns]
    assert places == sorted(set(places))
    lines = [id(item) for item in items]
    for turn in turns:
        order = [lines.index(id(item)) for item in turn.items]
        assert order == sorted(order)
        assert turn.first_position == order[0] + 1
        assert turn.last_position == order[-1] + 1


@given(_histories)
def test_asking_while_building_changes_nothing(items: list[RolloutItem]) -> None:
    builder = TurnBuilder()
    for item in items:
        builder.feed(item)
        builder.turns()
    assert builder.turns() == build_turns(items)
