"""Pages of items: complete both ways, and no dearer in a long thread than in a short one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.appserver.clients import Client
from tests.appserver.test_reading import told
from tests.appserver.world import serving

from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.paging import RecentMarks
from threadstore.stores.memory import MemoryThreadStore

Json = dict[str, Any]


class _CountingStore(MemoryThreadStore):
    """Has a mark before each turn, and counts the lines that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.turn_marks = RecentMarks(spacing=1)
        self.lines = 0

    async def iter_history(
        self, thread_id: str, *, after: int = 0, reverse: bool = False
    ) -> AsyncIterator[RolloutItem | DamagedLine]:
        async for entry in super().iter_history(thread_id, after=after, reverse=reverse):
            self.lines += 1
            yield entry


async def all_items(client: Client, thread_id: str, **params: Any) -> list[Json]:
    """The items of all pages; each page but the last has three."""
    found: list[Json] = []
    while True:
        page = await client.ask("thread/items/list", threadId=thread_id, limit=3, **params)
        found += page["data"]
        params["cursor"] = page["nextCursor"]
        if params["cursor"] is None:
            return found
        assert len(page["data"]) == 3


async def test_pages_both_ways_have_every_item_once() -> None:
    async with serving(_CountingStore()) as world:
        client = await world.connect()
        thread_id = await told(client, *map(str, range(7)))
        whole = (await client.ask("thread/items/list", threadId=thread_id))["data"]
        assert len(whole) == 14
        assert await all_items(client, thread_id) == whole
        assert await all_items(client, thread_id, sortDirection="desc") == whole[::-1]
        for number, entry in enumerate(whole):
            at = {"itemId": entry["item"]["id"]}
            assert await all_items(client, thread_id, cursor=at) == whole[number:]
            back = await all_items(client, thread_id, cursor=at, sortDirection="desc")
            assert back == whole[number::-1]


@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_a_page_goes_back_where_it_came_from(direction: str) -> None:
    async with serving(_CountingStore()) as world:
        client = await world.connect()
        thread_id = await told(client, *map(str, range(4)))
        ask = {"threadId": thread_id, "limit": 3}
        first = await client.ask("thread/items/list", **ask, sortDirection=direction)
        later = await client.ask(
            "thread/items/list", **ask, sortDirection=direction, cursor=first["nextCursor"]
        )
        other = "desc" if direction == "asc" else "asc"
        back = await client.ask(
            "thread/items/list", **ask, sortDirection=other, cursor=later["backwardsCursor"]
        )
        assert back["data"] == [later["data"][0], first["data"][2], first["data"][1]]


@pytest.mark.parametrize("direction", ["asc", "desc"])
async def test_a_page_of_a_long_thread_reads_no_more_than_of_a_short_one(direction: str) -> None:
    async with serving(_CountingStore()) as world:
        client = await world.connect()
        read: list[int] = []
        store = world.manager.store
        assert isinstance(store, _CountingStore)
        for turns in (4, 16):
            thread_id = await told(client, *map(str, range(turns)))
            ask = {"threadId": thread_id, "limit": 2, "sortDirection": direction}
            page = await client.ask("thread/items/list", **ask)  # from here on it is marked
            store.lines = 0
            await client.ask("thread/items/list", **ask, cursor=page["nextCursor"])
            read.append(store.lines)
        assert read[0] == read[1] > 0
