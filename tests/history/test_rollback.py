"""What rollback markers remove, and what can be appended again to undo the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import golden_homes
from tests.history.scripts import histories

from threadstore.factory import open_store
from threadstore.history.items import RolloutItem
from threadstore.history.rollback import is_rollback, removed_by_last_revert, surviving
from threadstore.history.turns import StoredTurn, build_turns
from threadstore.metadata import TokenUsage
from threadstore.testing import items as make

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

A, B, C = (make.turn(name, f"Turn {name}") for name in "abc")
BETWEEN = make.user_response("between")
BACK = make.thread_rolled_back(1)
COUNT = make.token_count(TokenUsage(input_tokens=1, output_tokens=1))
HEADER = RolloutItem("session_meta", {"id": "x", "cwd": "/", "cli_version": "1"})


def _shown(turns: Iterable[StoredTurn]) -> list[tuple[str, list[RolloutItem]]]:
    """What there is to see; ids of implicit turns count lines."""
    return [("" if t.id.startswith("rollout-") else t.id, list(t.items)) for t in turns]


@pytest.mark.parametrize(
    ("items", "left"),
    [
        ([*A, *B], [*A, *B]),
        ([*A, *B, BACK], A),
        ([*A, *B, BACK, *C], [*A, *C]),
        ([*A, *B, BACK, BACK, *C], C),
        ([*A, *B, make.thread_rolled_back(9), *C], C),
        ([*A, make.thread_rolled_back(0), *B], [*A, *B]),
        ([*A, make.event("thread_rolled_back", num_turns="x"), *B], [*A, *B]),
        ([BACK, *A], A),
        ([HEADER, BETWEEN, BACK, *A], [HEADER, BETWEEN, *A]),
        ([HEADER, *A, HEADER, BETWEEN, *B, COUNT, BACK], [HEADER, *A, HEADER]),
        ([*A, *B, BETWEEN, BACK], A),
        ([*A, *B[:3], BACK, *C], [*A, *C]),
    ],
)
def test_a_marker_takes_its_turns_and_what_stands_behind_them(
    items: list[RolloutItem], left: list[RolloutItem]
) -> None:
    assert surviving(items) == left


def test_old_turns_begin_with_what_the_model_was_told() -> None:
    old = [make.user_response("one"), make.user_message("one"), make.agent_message("ho")]
    new = [make.user_response("two"), make.user_message("two"), make.agent_message("hm")]
    assert surviving([*old, *new, BACK]) == old


def test_the_positions_of_items_do_not_matter() -> None:
    items = [*A, *B, BACK, *C]
    numbered = [RolloutItem.parse(item.encode("2026-01-01T00:00:00.000Z")) for item in items]
    for position, item in enumerate(numbered):
        item.position = 1000 - position
    assert [item.payload for item in surviving(numbered)] == [item.payload for item in [*A, *C]]


@given(histories())
def test_all_that_is_shown_survives_and_no_marker_does(items: list[RolloutItem]) -> None:
    left = surviving(items)
    assert not any(map(is_rollback, left))
    assert surviving(left) == left
    ids = set(map(id, left))
    assert all(id(item) in ids for turn in build_turns(items) for item in turn.items)


@given(histories(), st.integers(0, 4))
def test_what_survives_is_what_is_shown(items: list[RolloutItem], turns: int) -> None:
    items = [item for item in items if not is_rollback(item)]
    items.append(make.thread_rolled_back(turns))
    assert _shown(build_turns(surviving(items))) == _shown(build_turns(items))


@pytest.mark.parametrize(
    ("items", "again"),
    [
        ([*A, *B], []),
        ([*A, *B, BACK], B),
        ([*A, *B, *C, make.thread_rolled_back(2)], [*B, *C]),
        ([*A, *B, BACK, BACK], A),
        ([*A, *B, BACK, HEADER, COUNT], B),
        ([*A, *B, BACK, *C], []),
        ([*A, *B, BACK, *B], []),
        ([*A, *B, BACK, *B, BACK], B),
        ([*A, make.thread_rolled_back(0)], []),
        ([*A, *B[:-1], COUNT, HEADER, B[-1], BETWEEN, BACK], [*B, BETWEEN]),
        ([BACK], []),
        ([], []),
    ],
)
def test_a_redo_appends_what_the_last_marker_removed(
    items: list[RolloutItem], again: list[RolloutItem]
) -> None:
    assert removed_by_last_revert(items) == again


@pytest.mark.parametrize("label", golden_homes.LABELS)
async def test_what_survives_of_every_home_is_what_is_shown(label: str, tmp_path: Path) -> None:
    golden = golden_homes.load(label)
    async with open_store(f"local:{golden.unpack(tmp_path)}") as store:
        for thread_id in sorted(golden.ids):
            items = (await store.load_history(thread_id)).items
            left = surviving(items)
            assert _shown(build_turns(left)) == _shown(build_turns(items))
            if not any(map(is_rollback, items)):
                assert left == list(items)
