"""Usage from rollouts alone: what forks take over, in their file or in another one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.stores.local.homes import CodexHome, header

from threadstore.ids import new_thread_id
from threadstore.metadata import ThreadUsage, TokenUsage
from threadstore.testing import items

if TYPE_CHECKING:
    from pathlib import Path

    from threadstore.history.items import RolloutItem

ONE = TokenUsage(input_tokens=100, output_tokens=10, total_tokens=110)
TWO = TokenUsage(input_tokens=20, output_tokens=5, total_tokens=25)


@pytest.fixture
def home(tmp_path: Path) -> CodexHome:
    return CodexHome(tmp_path)


def lines(*given: RolloutItem, first: int = 0) -> list[bytes]:
    stamp = "2026-05-04T03:02:09.000Z"
    return [item.encode(stamp, ordinal) for ordinal, item in enumerate(given, first)]


def forked(home: CodexHome, fork: str, base: str, end: int) -> list[bytes]:
    """A paginated fork of *base* with one turn of its own."""
    fork_of = {"thread_id": base, "end_ordinal_exclusive": end, "end_byte_offset": 1}
    head = header(fork, history_mode="paginated", forked_from_id=base, history_base=fork_of)
    count = items.token_count(ONE + TWO, last=TWO)
    return lines(head, items.turn_context(model="n"), count, first=end)


def based(home: CodexHome) -> str:
    """A paginated thread with one turn."""
    base = new_thread_id()
    head = header(base, history_mode="paginated")
    home.write(lines(head, items.turn_context(model="m"), items.token_count(ONE)), base)
    return base


def test_a_fork_by_reference_inherits_the_usage_of_its_base(home: CodexHome) -> None:
    base, fork = based(home), new_thread_id()
    thread = home.facts(forked(home, fork, base, 3), fork)
    assert thread.usage == ThreadUsage(own={"n": TWO}, inherited={"m": ONE})
    thread = home.facts(forked(home, fork, base, 2), fork)  # before the first count
    assert thread.usage == ThreadUsage(own={"n": ONE + TWO})


def test_without_its_base_a_fork_owns_no_more_than_its_responses(home: CodexHome) -> None:
    base, fork = based(home), new_thread_id()
    os.unlink(home.path(base))
    assert home.facts(forked(home, fork, base, 3), fork).usage == ThreadUsage(own={"n": TWO})


def test_usage_in_the_record_of_an_edit_is_where_counting_goes_on(home: CodexHome) -> None:
    thread_id = new_thread_id()
    said = {"usage": {"own": {"x": {"input_tokens": 100, "output_tokens": 10}}, "inherited": {}}}
    edit = header(thread_id, threadstore={"patch": said})
    count = items.token_count(ONE + TWO, last=TWO)
    thread = home.facts([header(thread_id), items.token_count(ONE), edit, count], thread_id)
    assert thread.usage is not None
    assert thread.usage.own.keys() == {"x", "unknown"}
    assert thread.usage.own["unknown"] == TWO


def test_the_source_of_a_fork_counts_nothing_in_it_though_its_header_is_damaged(
    home: CodexHome,
) -> None:
    source, fork = new_thread_id(), new_thread_id()
    log: list[RolloutItem | bytes] = [
        b"{torn",
        header(source),
        items.task_started("t"),
        items.token_count(ONE),
    ]
    thread = home.facts(log, fork)
    assert thread.id == fork
    assert thread.usage == ThreadUsage(inherited={"unknown": ONE})
