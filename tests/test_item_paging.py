"""Pages of items going backwards: all there are, whatever stands between, and none read twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threadstore import paging
from threadstore.errors import InvalidRequest
from threadstore.history.items import DamagedLine, History, RolloutItem
from threadstore.history.lines import parse_line
from threadstore.ids import new_thread_id
from threadstore.queries import encode_cursor

_ID = new_thread_id()
_DOWNWARDS = f"{_ID}/ desc"


class _Log:
    """A log of lines at given positions; those at *damaged* cannot be read."""

    turn_marks: paging.Marks | None = None

    def __init__(self, positions: Sequence[int], damaged: frozenset[int] = frozenset()) -> None:
        self.entries = [_entry(position, damaged) for position in positions]
        self.read = 0

    async def iter_history(
        self, _thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        for entry in reversed(self.entries) if reverse else self.entries:
            if (entry.position or 0) > after:
                self.read += 1
                yield entry

    async def history_batches(
        self, thread_id: str, *, after: int = 0, reverse: bool = False, brief: bool = False
    ) -> AsyncIterator[Sequence[RolloutItem | DamagedLine]]:
        assert not brief
        async for entry in self.iter_history(thread_id, after=after, reverse=reverse):
            yield (entry,)

    async def load_history(self, thread_id: str) -> History:
        return History.of(thread_id, self.entries)

    def items(self) -> list[int | None]:
        return [entry.position for entry in self.entries if isinstance(entry, RolloutItem)]


def _entry(position: int, damaged: frozenset[int]) -> RolloutItem | DamagedLine:
    if position in damaged:
        return DamagedLine(position=position, raw=b"{", reason="cut")
    item = RolloutItem("event_msg", {"type": "agent_message", "message": f"{position}"})
    entry = parse_line(item.line(), position)
    assert entry is not None
    return entry


async def _downwards(log: _Log, cursor: str | None, limit: int) -> list[int | None]:
    found: list[int | None] = []
    while True:
        page = await paging.list_items(log, _ID, None, cursor, limit, descending=True)
        found += [item.position for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


@settings(max_examples=200, deadline=None)
@given(
    st.sets(st.integers(1, 60)).map(sorted),
    st.frozensets(st.integers(1, 60)),
    st.integers(1, 7),
    st.integers(0, 80),
    st.booleans(),
)
async def test_pages_backwards_have_every_item_before_their_cursor_once(
    positions: list[int], damaged: frozenset[int], limit: int, anchor: int, inclusive: bool
) -> None:
    log = _Log(positions, damaged)
    everything = log.items()[::-1]
    assert await _downwards(log, None, limit) == everything
    cursor = encode_cursor("items", _DOWNWARDS, anchor, inclusive)
    before = [at for at in everything if at is not None and at < anchor + inclusive]
    assert await _downwards(log, cursor, limit) == before


async def test_a_page_far_from_the_end_reads_what_it_shows() -> None:
    log = _Log(range(1, 5001))
    cursor = encode_cursor("items", _DOWNWARDS, 200, False)
    page = await paging.list_items(log, _ID, None, cursor, 10, descending=True)
    assert [item.position for item in page.items] == list(range(199, 189, -1))
    assert log.read <= 12


@pytest.mark.parametrize("anchor", [-1, 1 << 62, 1 << 80])
@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_a_cursor_at_an_impossible_place_is_refused(anchor: int, direction: str) -> None:
    cursor = encode_cursor("items", f"{_ID}/ {direction}", anchor, False)
    with pytest.raises(InvalidRequest, match="cursor"):
        await paging.list_items(_Log([1, 2]), _ID, None, cursor, 10, descending=direction == "desc")
