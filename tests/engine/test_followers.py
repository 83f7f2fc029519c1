"""Whoever follows hears everything from then on; who drops it costs nothing."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from threadstore.engine import ContextCompacted, Event
from threadstore.engine.followers import Followers


def event(turn_id: str) -> Event:
    return ContextCompacted(turn_id=turn_id)


async def test_what_is_told_before_the_first_step_is_heard() -> None:
    followers = Followers()
    events = followers.follow()
    followers.tell(event("1"))
    followers.tell(event("2"))
    followers.end()
    assert [each async for each in events] == [event("1"), event("2")]
    assert [each async for each in events] == []
    assert [each async for each in followers.follow()] == []


async def test_who_never_begins_or_breaks_off_follows_no_more() -> None:
    followers = Followers()
    dropped = [followers.follow() for _ in range(3)]
    stays = followers.follow()
    followers.tell(event("1"))
    async for _ in dropped[0]:
        break
    gone = [weakref.ref(each) for each in dropped]
    dropped.clear()
    gc.collect()
    assert [each() for each in gone] == [None] * 3
    followers.tell(event("2"))
    assert [await anext(stays), await anext(stays)] == [event("1"), event("2")]


async def test_a_wait_that_is_cancelled_loses_nothing() -> None:
    followers = Followers()
    events = followers.follow()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(events)
    followers.tell(event("1"))
    assert await anext(events) == event("1")
