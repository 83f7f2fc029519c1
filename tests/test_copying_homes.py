"""Homes of real Codex releases through other stores and back: the same bytes, the same facts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.golden_homes import LABELS, load
from tests.test_copying import copy, facts, history, raw

from threadstore.copying import all_thread_ids
from threadstore.factory import open_store
from threadstore.store import ThreadStore
from threadstore.testing.postgres_server import PostgresServer


@pytest.fixture
def between(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of the store that the threads go through."""
    if request.param == "memory":
        yield "memory:"
        return
    name = postgres_server.new_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)


THROUGH_POSTGRES = ("0.29.0", "0.77.0", "0.131.0", "0.150.1", "0.169.0", "0.169.0-legacy")
"""All the others with ``DEEP=1``; through memory all go in every run."""
WAYS = [
    *(("memory", label) for label in LABELS),
    *(("postgres", label) for label in (LABELS if os.environ.get("DEEP") else THROUGH_POSTGRES)),
]


@pytest.mark.parametrize(("between", "label"), WAYS, indirect=["between"])
async def test_a_home_comes_back_as_it_was(label: str, between: str, tmp_path: Path) -> None:
    home = load(label).unpack(tmp_path)
    async with open_store(f"local:{home}") as first, open_store(between) as middle:
        done = await copy(first, middle)
        failed = {one.thread_id: str(one.error) for one in done.values() if one.error}
        assert failed == {}
        back = f"local:{tmp_path / 'back'}"
        async with open_store(back) as second:
            done = await copy(middle, second)
            failed = {one.thread_id: str(one.error) for one in done.values() if one.error}
            assert failed == {}
        async with open_store(back) as second:
            ids = await all_thread_ids(first)
            assert sorted(await all_thread_ids(second)) == sorted(ids)
            for thread_id in ids:
                await _compare(first, middle, second, thread_id)
            again = await copy(first, second)
            assert {(one.result, str(one.error)) for one in again.values()} == {
                ("unchanged", "None")
            }


async def _compare(
    first: ThreadStore, middle: ThreadStore, second: ThreadStore, thread_id: str
) -> None:
    reverted = await _was_reverted(first, thread_id)
    for store in (middle, second):
        if not reverted:
            assert await raw(store, thread_id) == await raw(first, thread_id)
        assert await history(store, thread_id) == await history(first, thread_id)
        ours, theirs = await first.read_thread(thread_id), await store.read_thread(thread_id)
        if ours.recency_at < ours.created_at:  # a rebuilt row; a copy is used when it began
            ours = msgspec.structs.replace(ours, recency_at=ours.created_at)
        assert facts(theirs) == facts(ours)


async def _was_reverted(store: ThreadStore, thread_id: str) -> bool:
    base = await store.history_base(thread_id)
    return base is not None and base.thread_id == thread_id
