"""Which lines of a fork or a child are copies, told from its log alone."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import pytest

from threadstore.clock import UTC, rfc3339_ms
from threadstore.history.facts import fold
from threadstore.history.items import RolloutItem
from threadstore.metadata import ThreadUsage, TokenUsage
from threadstore.testing import items, spawned_by

SOURCE: Final = "01a201e6-33d9-7f80-a71c-6784b3a3c1e3"
FORK: Final = "01a201e6-3802-7a31-b303-df47594d9dfc"
OLD_TURN: Final = "01a201e6-33ea-7540-aff8-f1fdd7edd708"
NEW_TURN: Final = "01a201e6-3858-7ea1-9504-dbaefbf9c387"
BEGAN: Final = dt.datetime(2026, 11, 22, 6, 16, 34, 578000, tzinfo=UTC)
ONE: Final = TokenUsage(input_tokens=100, output_tokens=10, total_tokens=110)
TWO: Final = TokenUsage(input_tokens=20, output_tokens=5, total_tokens=25)
APART: Final = ThreadUsage(own={"unknown": TWO}, inherited={"unknown": ONE})


def at(ms: int, item: RolloutItem, ordinal: int | None = None) -> RolloutItem:
    """*item* as it stands in a log, stamped so many milliseconds after the fork began."""
    stamp = rfc3339_ms(BEGAN + dt.timedelta(milliseconds=ms))
    return RolloutItem.parse(item.encode(stamp, ordinal))


def own_header(**fields: Any) -> RolloutItem:
    return at(5, items.session_meta(FORK, created_at=BEGAN, **fields))


def source_header(ms: int) -> RolloutItem:
    began = BEGAN - dt.timedelta(seconds=60)
    return at(ms, items.session_meta(SOURCE, created_at=began))


def old_turn(ms: int, turn_id: str = OLD_TURN) -> list[RolloutItem]:
    return [at(ms, items.task_started(turn_id)), at(ms, items.token_count(ONE))]


def new_turn(ms: int, turn_id: str = NEW_TURN) -> list[RolloutItem]:
    last = items.token_count(ONE + TWO, last=TWO)
    return [at(ms, items.task_started(turn_id)), at(ms, last)]


def usage(*lines: RolloutItem) -> ThreadUsage | None:
    found = fold(FORK, lines).usage
    return found if isinstance(found, ThreadUsage) else None


def test_codex_stamps_copied_lines_anew_and_the_turn_tells_whose_it_is() -> None:
    lines = [own_header(forked_from_id=SOURCE), source_header(50), *old_turn(52)]
    assert usage(*lines) == ThreadUsage(inherited={"unknown": ONE})
    assert usage(*lines, *new_turn(900)) == APART


def test_a_turn_context_tells_it_too() -> None:
    lines = [own_header(forked_from_id=SOURCE), source_header(50), *old_turn(52)]
    found = usage(
        *lines,
        at(90, items.turn_context(turn_id=NEW_TURN, model="m")),
        at(91, items.token_count(ONE + TWO, last=TWO)),
    )
    assert found == ThreadUsage(own={"m": TWO}, inherited={"unknown": ONE})


def test_copies_that_kept_their_times_are_older_than_the_fork() -> None:
    """So threadstore copies; the ids of its turns are the caller's."""
    lines = [own_header(forked_from_id=SOURCE), source_header(-60_000), *old_turn(-100, "t1")]
    assert usage(*lines, *new_turn(900, "t2")) == APART


def test_a_line_that_names_the_thread_ends_the_copy() -> None:
    """0.150 and later write the settings behind a copy; 0.155 names the thread in them."""
    settings = items.event(
        "thread_settings_applied", thread_id=FORK, thread_settings={"model": "m"}
    )
    lines = [own_header(forked_from_id=SOURCE), source_header(50), *old_turn(52, "t1")]
    found = usage(*lines, at(53, settings), *new_turn(900, "t2"))
    assert found == ThreadUsage(own={"m": TWO}, inherited={"unknown": ONE})


def test_usage_records_name_the_thread_that_asked() -> None:
    lines = [own_header(forked_from_id=SOURCE), source_header(50)]
    record = items.token_usage_record
    found = usage(
        *lines,
        at(51, record(SOURCE, ONE)),
        at(51, items.token_count(ONE)),
        at(900, record(FORK, TWO, total=ONE + TWO)),
        at(901, items.token_count(ONE + TWO, last=TWO)),
    )
    assert found == APART


def test_a_later_header_of_the_thread_is_no_copy() -> None:
    lines = [own_header(forked_from_id=SOURCE), source_header(50), *old_turn(52, "t1")]
    edit = at(60, items.session_meta(FORK, created_at=BEGAN, memory_mode="disabled"))
    assert usage(*lines, edit, *new_turn(900, "t2")) == APART


@pytest.mark.parametrize("fields", [{"source": spawned_by(SOURCE)}, {"parent_thread_id": SOURCE}])
def test_what_a_child_took_over_is_older_than_the_child(fields: dict[str, Any]) -> None:
    lines = [own_header(**fields), *old_turn(-100, "t1")]
    assert usage(*lines, *new_turn(900, "t2")) == APART
    assert usage(lines[0], *new_turn(900, "t2")) == ThreadUsage(own={"unknown": ONE + TWO})


def test_a_paginated_child_says_where_its_own_history_starts() -> None:
    head = own_header(source=spawned_by(SOURCE), subagent_history_start_ordinal=3)
    found = usage(
        head,
        at(50, items.token_count(ONE), 2),
        at(51, items.token_count(ONE + TWO, last=TWO), 3),
    )
    assert found == APART


def test_times_mean_nothing_in_a_thread_that_nobody_else_began() -> None:
    assert usage(own_header(), *old_turn(-100, "t1")) == ThreadUsage(own={"unknown": ONE})


def test_a_fork_may_have_an_id_from_before_its_source_ran() -> None:
    older = "01a201e6-0000-7a31-b303-df47594d9dfc"
    head = at(5, items.session_meta(older, created_at=BEGAN, forked_from_id=SOURCE))
    found = fold(older, [head, source_header(50), *old_turn(52), *new_turn(900)]).usage
    assert found == APART
