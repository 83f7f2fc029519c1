"""A store that somebody else wrote, held to the same contract: the example of the documentation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from threadstore.store import ThreadStore
from threadstore.testing import MemoryHarness, StoreHarness, ThreadStoreTests, ThreadStoreWrapper

T = TypeVar("T")


class CountingStore(ThreadStoreWrapper):
    """Counts the calls of each verb."""

    def __init__(self, inner: ThreadStore) -> None:
        super().__init__(inner)
        self.calls: dict[str, int] = {}

    async def run(self, verb: str, call: Coroutine[Any, Any, T]) -> T:
        self.calls[verb] = self.calls.get(verb, 0) + 1
        return await super().run(verb, call)


class CountingHarness(MemoryHarness):
    @asynccontextmanager
    async def open(self) -> AsyncIterator[ThreadStore]:
        async with super().open() as inner:
            yield CountingStore(inner)


class TestCountingStore(ThreadStoreTests):
    @pytest.fixture
    def harness(self) -> StoreHarness:
        return CountingHarness()
