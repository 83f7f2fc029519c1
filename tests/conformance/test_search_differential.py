"""Random threads, random searches: every store finds the same, in the same order."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.search.strategies import queries, texts

from threadstore.errors import InvalidRequest
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.metadata import NewThread
from threadstore.queries import SortKey, ThreadQuery
from threadstore.search import SearchQuery
from threadstore.search.tokens import composed, words
from threadstore.store import ThreadStore
from threadstore.testing import LocalHarness, MemoryHarness, StoreHarness, items
from threadstore.testing.cases.base import explicit
from threadstore.testing.cases.search_base import hits, occurrences
from threadstore.testing.postgres_harness import PostgresHarness
from threadstore.testing.postgres_server import PostgresServer

_numbers = itertools.count()


class Said(NamedTuple):
    """One text of a thread."""

    kind: str
    text: str

    def item(self, number: int) -> RolloutItem:
        match self.kind:
            case "user":
                return items.user_message(self.text)
            case "assistant":
                return items.agent_message(self.text)
            case "patch":
                return items.custom_tool_call(f"c{number}", "patch", self.text)
            case "answer":
                return items.function_call_output(f"c{number - 1}", self.text)
            case _:
                return items.thread_rolled_back(1)


class Thread(NamedTuple):
    """One thread of an example."""

    said: list[Said]
    later: list[Said]
    name: str | None
    archived: bool
    gap: float
    source: str


_said = st.builds(
    Said, st.sampled_from(["user", "assistant", "assistant", "patch", "answer", "back"]), texts
)
_threads = st.builds(
    Thread,
    st.lists(_said, min_size=1, max_size=5),
    st.lists(_said, max_size=2),
    st.none() | texts.filter(lambda text: bool(text.strip()) and "\x00" not in text),
    st.booleans(),
    st.sampled_from([0, 0.001, 2]),
    st.sampled_from(["cli", "exec"]),
)


@st.composite
def _examples(draw: st.DrawFn) -> tuple[list[Thread], list[dict[str, Any]]]:
    threads = draw(st.lists(_threads, min_size=1, max_size=4))
    every = [each.text for thread in threads for each in (*thread.said, *thread.later)]
    part = st.sampled_from([composed(text) for text in every]).flatmap(_part)
    word = st.sampled_from(["begin", *(word for text in every for word in words(composed(text)))])
    asked = st.fixed_dictionaries(
        {
            "text": word
            | word.map("{}*".format)
            | part
            | part.map(str.swapcase)
            | part.map('"{}"'.format)
            | queries,
            "literal": st.booleans(),
        },
        optional={
            "roles": st.sampled_from([("user",), ("assistant", "title"), ("tool",), ()]),
            "tools": st.sampled_from([("patch",), ("x", "patch"), ()]),
        },
    )
    return threads, draw(st.lists(asked, min_size=1, max_size=4))


def _part(text: str) -> st.SearchStrategy[str]:
    return st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(
        lambda ends: text[min(ends) : max(ends)]
    )


class Stores:
    """One store of each kind, open for all examples."""

    def __init__(self, harnesses: dict[str, StoreHarness]) -> None:
        self.harnesses = {
            name: harness
            for name, harness in harnesses.items()
            if harness.capabilities.search_threads
        }
        self.runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.stores: dict[str, ThreadStore] = {
            name: self.runner.run(self._stack.enter_async_context(harness.open()))
            for name, harness in self.harnesses.items()
        }

    def play(self, threads: list[Thread], searches: list[dict[str, Any]]) -> list[list[Any]]:
        """What each store finds, the memory store first."""
        cwd, ids = f"/example/{next(_numbers)}", [new_thread_id() for _ in threads]
        return [
            self.runner.run(_play(store, self.harnesses[name], cwd, ids, threads, searches))
            for name, store in self.stores.items()
        ]

    def close(self) -> None:
        self.runner.run(self._stack.aclose())
        self.runner.close()
        for harness in self.harnesses.values():
            harness.close()


def test_every_store_finds_the_same(tmp_path: Path, postgres_server: PostgresServer) -> None:
    stores = Stores(
        {
            "memory": MemoryHarness(),
            "local": LocalHarness(tmp_path),
            "postgres": PostgresHarness(postgres_server),
        }
    )
    found = 0

    @given(example=_examples())
    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    def compare(example: tuple[list[Thread], list[dict[str, Any]]]) -> None:
        nonlocal found
        expected, *others = stores.play(*example)
        for other in others:
            assert other == expected
        found += sum(bool(result) for result in expected)

    try:
        compare()
    finally:
        stores.close()
    assert found > 50


async def _play(
    store: ThreadStore,
    harness: StoreHarness,
    cwd: str,
    ids: list[str],
    threads: list[Thread],
    searches: list[dict[str, Any]],
) -> list[Any]:
    for thread_id, thread in zip(ids, threads, strict=True):
        await store.create_thread(NewThread(cwd=cwd, id=thread_id, source=thread.source))
        await store.append_items(thread_id, items.turn("turn-1", "begin", at=harness.clock.now()))
        await store.append_items(thread_id, _items(thread.said))
        harness.clock.advance(thread.gap)
    results = await _look(store, cwd, ids, searches)
    for thread_id, thread in zip(ids, threads, strict=True):
        if thread.name is not None:
            await explicit(store, thread_id, name=thread.name)
        if thread.later:
            await store.append_items(thread_id, _items(thread.later))
        await store.shutdown_thread(thread_id)
        if thread.archived:
            await store.archive_thread(thread_id)
    return results + await _look(store, cwd, ids, searches)


def _items(said: list[Said]) -> list[RolloutItem]:
    return [each.item(number) for number, each in enumerate(said)]


async def _look(
    store: ThreadStore, cwd: str, ids: list[str], searches: list[dict[str, Any]]
) -> list[Any]:
    results: list[Any] = []
    for asked in searches:
        fields = {key: value for key, value in asked.items() if key != "text"}
        in_order: dict[str, Any] = {"cwds": (cwd,), "sort_key": SortKey.CREATED}
        try:
            for threads in (
                {"archived": None, "limit": 2},
                {"archived": False},
                {"archived": None, "sources": ("exec",), "descending": False},
            ):
                found = await hits(store, asked["text"], **fields, **in_order, **threads)
                results.append([(hit.thread.id, hit.found) for hit in found])
            ranked = await hits(
                store, asked["text"], **fields, ranked=True, cwds=(cwd,), archived=None, limit=2
            )
            results.append(sorted(hit.thread.id for hit in ranked))
            query = SearchQuery(**asked, threads=ThreadQuery())
            results += [await occurrences(store, each, query, limit=2) for each in ids]
        except InvalidRequest as error:
            results.append(str(error))
    return results
