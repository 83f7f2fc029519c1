"""One script, many stores, equal results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec.structs import replace

from threadstore.errors import ThreadStoreError
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.metadata import (
    GitInfoPatch,
    MetadataOrigin,
    NewThread,
    StoredThread,
    ThreadMetadataPatch,
)
from threadstore.pages import TurnPage
from threadstore.queries import SortKey, ThreadPage, ThreadQuery
from threadstore.search import SearchPage, SearchQuery, TextRole
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.clock import ManualClock
from threadstore.testing.harness import StoreHarness
from threadstore.testing.seeds import empty_thread, record_thread, spawned_by

__all__ = ["run_differential"]

_ROOT, _CHILD, _NAMED, _EMPTY, _FRESH, _UNKNOWN = (
    f"01a201e5-a996-7a61-8db2-00000000000{number}" for number in range(6)
)


async def run_differential(harnesses: Mapping[str, StoreHarness]) -> dict[str, list[Any]]:
    """Run one script on a store of each harness; the results by the harness's name.

    Raises :class:`AssertionError` at the first step with results that differ. Metadata records in
    the history, paths and the harnesses' volatile facts are left out of the comparison.
    """
    volatile = frozenset[str]().union(
        *(harness.volatile_facts("legacy") for harness in harnesses.values())
    )
    searches = all(harness.capabilities.search_threads for harness in harnesses.values())
    watches = all(harness.capabilities.watch_thread for harness in harnesses.values())
    results: dict[str, list[Any]] = {}
    for name, harness in harnesses.items():
        script = _Script(harness.clock, volatile, searches=searches, watches=watches)
        async with harness.open() as store:
            await script.play(store)
        results[name] = script.results
        first_name, first = next(iter(results.items()))
        assert len(first) == len(script.results)
        for step, (expected, found) in enumerate(zip(first, script.results, strict=True)):
            assert found == expected, f"step {step}: {name} differs from {first_name}"
    return results


class _Script:
    """The steps, and what came of each."""

    def __init__(
        self, clock: ManualClock, volatile: frozenset[str], *, searches: bool, watches: bool
    ) -> None:
        self.results: list[Any] = []
        self._searches = searches
        self._watches = watches
        self._clock = clock
        self._without = {*volatile, "rollout_path"}

    async def play(self, store: ThreadStore) -> None:
        await self._record(store)
        await self._look(store)
        await self._edit(store)
        await self._look(store)
        await self._refuse(store)
        await self._end(store)
        await self._look(store)

    async def _record(self, store: ThreadStore) -> None:
        clock = self._clock
        await record_thread(store, clock, "first message", id=_ROOT, memory_mode="disabled")
        clock.advance(1.5)
        spawned: dict[str, Any] = {"source": spawned_by(_ROOT), "parent_thread_id": _ROOT}
        await record_thread(store, clock, "explore", id=_CHILD, agent_role="explorer", **spawned)
        clock.advance(2.25)
        await record_thread(
            store, clock, "use ÄÖÜ\nin 100% of _ cases", name="named", id=_NAMED, source="exec"
        )
        clock.advance()
        await empty_thread(store, id=_EMPTY, model_provider="mock", cwd="")
        clock.advance()
        await self._do(store.resume_thread, _ROOT)
        turn = items.turn("turn-2", "second", "answer", at=clock.now())
        await store.append_items(_ROOT, [*turn, items.unknown_item(x=[None, 1.5, "é"])])
        await store.append_items(_ROOT, [items.thread_rolled_back(1)])
        observed = ThreadMetadataPatch(updated_at=clock.now(), advance_recency_at=clock.now())
        await store.update_thread_metadata(_ROOT, observed, origin=MetadataOrigin.OBSERVED)
        await store.shutdown_thread(_ROOT)

    async def _look(self, store: ThreadStore) -> None:
        for key in SortKey:
            if f"{key.value}_at" in self._without:
                continue
            for descending in (True, False):
                query = ThreadQuery(limit=3, sort_key=key, descending=descending, archived=None)
                await self._do(store.list_threads, query)
        for query in (
            ThreadQuery(archived=True),
            ThreadQuery(sources=("subagent",)),
            ThreadQuery(exclude_sources=("subagent", "exec")),
            ThreadQuery(ancestor_id=_ROOT),
            ThreadQuery(name="new name", archived=None),
            ThreadQuery(id_prefix=_ROOT[:6].upper()),
            ThreadQuery(search_term="äöü"),
            ThreadQuery(search_term="%"),
            ThreadQuery(only_displayable=True),
            ThreadQuery(models=("gpt-5.1",)),
            ThreadQuery(git_origins=("https://example.org/a.git",)),
            ThreadQuery(cwds=("/repo/../repo",), model_providers=("openai",)),
        ):
            query = msgspec.structs.replace(query, sort_key=SortKey.CREATED)
            await self._do(store.list_threads, query)
        if self._searches:
            await self._search(store)
        for thread_id in (_ROOT, _CHILD, _NAMED, _EMPTY, _FRESH, _UNKNOWN):
            await self._do(store.read_thread, thread_id)
            await self._do(self._history, store, thread_id)
            await self._do(store.list_turns, thread_id)
            if self._watches:
                await self._do(self._watched, store, thread_id)

    async def _search(self, store: ThreadStore) -> None:
        threads = ThreadQuery(archived=None, sort_key=SortKey.CREATED, limit=2)
        for query in (
            SearchQuery(text="message", threads=threads),
            SearchQuery(text="äö*", threads=threads),
            SearchQuery(text="100% of _", literal=True, threads=threads),
            SearchQuery(text="second", threads=threads),
            SearchQuery(text="name*", roles=(TextRole.TITLE,), threads=threads),
            SearchQuery(text="done", threads=replace(threads, sources=("subagent",))),
        ):
            await self._do(store.search_threads, query)
            for thread_id in (_ROOT, _NAMED, _UNKNOWN):
                await self._do(store.search_occurrences, thread_id, query)

    async def _edit(self, store: ThreadStore) -> None:
        await self._patch(store, _ROOT, name=" new name ", memory_mode="enabled")
        await self._patch(store, _CHILD, git=GitInfoPatch(sha="a1", branch="topic"))
        await self._patch(store, _CHILD, git=GitInfoPatch(sha=None))
        await self._patch(store, _NAMED, name=None)
        await self._patch(store, _EMPTY, name="only a name", git=GitInfoPatch(branch=None))
        await store.create_thread(NewThread(cwd="/repo", id=_FRESH))
        await self._patch(store, _FRESH, name="fresh")

    async def _refuse(self, store: ThreadStore) -> None:
        await self._patch(store, _UNKNOWN, name="x")
        await self._do(store.create_thread, NewThread(cwd="/repo", id=_ROOT))
        await self._do(store.resume_thread, _UNKNOWN)
        await self._do(store.resume_thread, _FRESH)
        await self._do(store.append_items, _ROOT, [items.user_message("not live")])
        await self._do(store.archive_thread, _FRESH)
        await self._do(store.unarchive_thread, _ROOT)
        await self._do(store.list_threads, ThreadQuery(cursor="nonsense"))
        await self._do(store.read_thread, "no-id")

    async def _end(self, store: ThreadStore) -> None:
        await store.shutdown_thread(_FRESH)
        await self._do(store.archive_thread, _ROOT)
        await self._patch(store, _ROOT, name="refused")
        await self._do(store.archive_thread, _ROOT)
        await self._do(store.unarchive_thread, _CHILD)
        await self._do(store.delete_thread, _NAMED)

    async def _patch(self, store: ThreadStore, thread_id: str, **fields: Any) -> None:
        async def update() -> StoredThread:
            return await store.update_thread_metadata(
                thread_id, ThreadMetadataPatch(**fields), origin=MetadataOrigin.EXPLICIT
            )

        await self._do(update)

    async def _history(self, store: ThreadStore, thread_id: str) -> list[RolloutItem]:
        return list((await store.load_history(thread_id)).items)

    async def _watched(self, store: ThreadStore, thread_id: str) -> list[RolloutItem | DamagedLine]:
        """What a follower sees who stops where the history ends."""
        history = await store.load_history(thread_id)
        found: list[RolloutItem | DamagedLine] = []
        async with aclosing(store.watch_thread(thread_id)) as entries:
            while len(found) < len(history.items) + len(history.damage):
                found.append(await anext(entries))
        return found

    async def _do(self, verb: Callable[..., Awaitable[Any]], *args: Any) -> None:
        try:
            result = self._plain(await verb(*args))
        except ThreadStoreError as error:
            result = (type(error).__name__, error.code)
        self.results.append(result)

    def _plain(self, value: Any) -> Any:
        """*value* without what may differ between stores."""
        match value:
            case ThreadPage():
                return [thread.id for thread in value.items], value.next_cursor is None
            case SearchPage():
                return [
                    (hit.thread.id, hit.found) for hit in value.items
                ], value.next_cursor is None
            case TurnPage():
                return [(turn.id, turn.status, self._plain(turn.items)) for turn in value.items]
            case StoredThread():
                facts = msgspec.structs.asdict(value)
                kept = {key: fact for key, fact in facts.items() if key not in self._without}
                if value.archived_at and "archived_at" in kept:
                    # Codex's column holds whole seconds.
                    kept["archived_at"] = value.archived_at.replace(microsecond=0)
                return {**kept, "archived": value.archived}
            case list() | tuple():
                return [self._plain(item) for item in value if not _is_record(item)]
            case RolloutItem():
                return value.type, value.payload, value.timestamp
            case _:
                return value


def _is_record(item: Any) -> bool:
    return isinstance(item, RolloutItem) and item.type == "session_meta"
