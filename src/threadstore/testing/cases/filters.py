"""Lists: every filter, alone and together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from threadstore.errors import InvalidRequest
from threadstore.metadata import GitInfo, GitInfoPatch, NewThread, SessionSource
from threadstore.queries import SortKey, ThreadQuery
from threadstore.store import ThreadStore
from threadstore.testing import items
from threadstore.testing.cases.base import Cases, explicit, listed, observed, unknown_id
from threadstore.testing.clock import ManualClock
from threadstore.testing.seeds import empty_thread, record_thread, spawned_by

__all__ = ["FilterTests"]

_SOURCES: dict[str, SessionSource] = {
    "cli": "cli",
    "vscode": "vscode",
    "exec": "exec",
    "mcp": "mcp",
    "unknown": "unknown",
    "custom:atlas": {"custom": "atlas"},
    "custom:chatgpt": {"custom": "chatgpt"},
    "internal": {"internal": "memory_consolidation"},
    "subagent_review": {"subagent": "review"},
    "subagent_compact": {"subagent": "compact"},
    "subagent_thread_spawn": spawned_by("01a201e5-a996-7a61-8db2-c256091e8939"),
    "subagent_other": {"subagent": {"other": "zzz"}},
}


async def _with_sources(store: ThreadStore) -> dict[str, str]:
    """One thread of each source; its id by the word for it."""
    return {word: (await empty_thread(store, source=value)).id for word, value in _SOURCES.items()}


async def _spawn(store: ThreadStore, parent: str) -> str:
    return (await empty_thread(store, source=spawned_by(parent), parent_thread_id=parent)).id


class FilterTests(Cases):
    """The filters of ``ThreadQuery``."""

    async def test_archived(self, store: ThreadStore, clock: ManualClock) -> None:
        active = (await record_thread(store, clock)).id
        archived = (await record_thread(store, clock)).id
        await store.archive_thread(archived)
        assert await listed(store) == [active]
        assert await listed(store, archived=True) == [archived]
        assert set(await listed(store, archived=None)) == {active, archived}

    async def test_cwds(self, store: ThreadStore, clock: ManualClock) -> None:
        one = (await record_thread(store, clock, cwd="/repo/one")).id
        two = (await record_thread(store, clock, cwd="/repo/two")).id
        none = (await record_thread(store, clock, cwd="")).id
        assert await listed(store, cwds=("/repo/one",)) == [one]
        assert await listed(store, cwds=("/repo/two/", "/else")) == [two]
        assert set(await listed(store, cwds=("/repo/one", "/repo/x/../two"))) == {one, two}
        assert await listed(store, cwds=("",)) == [none]
        assert await listed(store, cwds=("/repo",)) == []
        assert await listed(store, cwds=()) == []

    async def test_cwds_are_the_same_through_links(
        self, store: ThreadStore, clock: ManualClock, tmp_path: Path
    ) -> None:
        real, link = tmp_path / "real", tmp_path / "link"
        real.mkdir()
        link.symlink_to(real)
        direct = await record_thread(store, clock, cwd=str(real))
        linked = await record_thread(store, clock, cwd=str(link))
        for cwd in (real, link, real / ".." / "link" / "."):
            assert set(await listed(store, cwds=(os.fspath(cwd),))) == {direct.id, linked.id}
        assert (await store.read_thread(linked.id)).cwd == str(link)

    async def test_model_providers(self, store: ThreadStore, clock: ManualClock) -> None:
        one = (await record_thread(store, clock, model_provider="one")).id
        two = (await record_thread(store, clock, model_provider="two")).id
        default = await record_thread(store, clock)
        assert await listed(store, model_providers=("one",)) == [one]
        assert set(await listed(store, model_providers=("one", "two", "x"))) == {one, two}
        assert await listed(store, model_providers=(default.model_provider,)) == [default.id]
        assert await listed(store, model_providers=("x",)) == []
        assert await listed(store, model_providers=()) == []

    async def test_models(self, store: ThreadStore, clock: ManualClock) -> None:
        usual = await record_thread(store, clock, live=True)
        other = await record_thread(store, clock, live=True)
        none = await empty_thread(store)
        at = clock.now()
        context = items.turn("turn-2", "more", at=at, model="gpt-6")
        await store.append_items(other.id, context)
        await observed(store, other.id, model="gpt-6", updated_at=at)
        assert usual.model is not None
        assert await listed(store, models=(usual.model,)) == [usual.id]
        assert await listed(store, models=("gpt-6",)) == [other.id]
        assert set(await listed(store, models=("gpt-6", usual.model, "x"))) == {usual.id, other.id}
        assert await listed(store, models=("GPT-6", "", "None")) == []
        assert await listed(store, models=()) == []
        assert set(await listed(store)) == {usual.id, other.id, none.id}

    async def test_git_origins(self, store: ThreadStore, clock: ManualClock) -> None:
        web, ssh = "https://example.org/a.git", "git@example.org:b.git"
        one = (await record_thread(store, clock, git=GitInfo(origin_url=web))).id
        two = (await record_thread(store, clock, git=GitInfo(sha="a1", origin_url=ssh))).id
        none = (await record_thread(store, clock, git=GitInfo(sha="a1"))).id
        assert await listed(store, git_origins=(web,)) == [one]
        assert await listed(store, git_origins=("https://me:secret@example.org/a.git",)) == [one]
        assert set(await listed(store, git_origins=(web, ssh, "x"))) == {one, two}
        assert await listed(store, git_origins=("", "https://example.org/")) == []
        assert await listed(store, git_origins=()) == []
        await explicit(store, none, git=GitInfoPatch(origin_url=web))
        await explicit(store, one, git=GitInfoPatch(origin_url=None))
        assert await listed(store, git_origins=(web,)) == [none]

    async def test_sources(self, store: ThreadStore) -> None:
        ids = await _with_sources(store)
        assert set(await listed(store)) == set(ids.values())
        for word, thread_id in ids.items():
            assert await listed(store, sources=(word,)) == [thread_id], word
        assert set(await listed(store, sources=("cli", "exec"))) == {ids["cli"], ids["exec"]}
        assert set(await listed(store, sources=("custom",))) == {
            thread_id for word, thread_id in ids.items() if word.startswith("custom:")
        }
        assert set(await listed(store, sources=("subagent",))) == {
            thread_id for word, thread_id in ids.items() if word.startswith("subagent_")
        }
        assert await listed(store, sources=()) == []
        assert await listed(store, sources=("CLI", "custom:Atlas", "nonsense")) == []

    async def test_exclude_sources(self, store: ThreadStore) -> None:
        ids = await _with_sources(store)
        for word, thread_id in ids.items():
            left = set(await listed(store, exclude_sources=(word,)))
            assert left == set(ids.values()) - {thread_id}, word
        left = set(await listed(store, exclude_sources=("subagent", "custom", "internal")))
        assert left == {ids[word] for word in ("cli", "vscode", "exec", "mcp", "unknown")}
        assert await listed(store, sources=("cli",), exclude_sources=("cli",)) == []

    async def test_parent_and_ancestor(self, store: ThreadStore) -> None:
        root = (await empty_thread(store)).id
        child, other = await _spawn(store, root), await _spawn(store, root)
        grandchild = await _spawn(store, child)
        stranger = (await empty_thread(store)).id
        assert set(await listed(store, parent_id=root)) == {child, other}
        assert await listed(store, parent_id=child.upper()) == [grandchild]
        assert set(await listed(store, ancestor_id=root)) == {child, other, grandchild}
        assert await listed(store, ancestor_id=child) == [grandchild]
        for nobody in (grandchild, stranger, unknown_id()):
            assert await listed(store, parent_id=nobody) == []
            assert await listed(store, ancestor_id=nobody) == []

    async def test_an_archived_child_still_links_its_own_children(self, store: ThreadStore) -> None:
        root = (await empty_thread(store)).id
        child = await _spawn(store, root)
        grandchild = await _spawn(store, child)
        await store.archive_thread(child)
        await store.unarchive_thread(grandchild)
        assert await listed(store, ancestor_id=root) == [grandchild]
        assert await listed(store, ancestor_id=root, archived=True) == [child]

    async def test_a_parent_id_must_be_an_id(self) -> None:
        with pytest.raises(InvalidRequest):
            ThreadQuery(parent_id="no-id")
        with pytest.raises(InvalidRequest):
            ThreadQuery(ancestor_id="no-id")

    async def test_threads_are_found_by_the_beginning_of_their_id(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        ids = ["0aa0bb00-cc00-7000-8000-0000000000" + end for end in ("01", "02", "a1")]
        ids += ["0aa0bb01-cc00-7000-8000-000000000001", "1aa0bb00-cc00-7000-8000-000000000001"]
        for thread_id in ids:
            await record_thread(store, clock, id=thread_id)
            clock.advance()
        whole = ids[0]
        for prefix, wanted in (
            ("0", ids[:4]),
            ("0aa0bb00", ids[:3]),
            ("0AA0-BB00-cc", ids[:3]),
            ("0aa0bb00cc", ids[:3]),
            (whole[:-1], ids[:2]),
            (whole.replace("-", "").upper(), ids[:1]),
            ("1", ids[4:]),
            ("f", []),
        ):
            assert await listed(store, id_prefix=prefix) == wanted[::-1], prefix
        paged = await listed(store, id_prefix="0", limit=1, sort_key=SortKey.CREATED)
        assert paged == ids[3::-1]
        await store.archive_thread(whole)
        assert await listed(store, id_prefix=whole) == []
        assert await listed(store, id_prefix=whole, archived=None, cwds=("/x",)) == []
        assert await listed(store, id_prefix=whole, archived=None) == [whole]

    async def test_a_cursor_fits_every_spelling_of_a_prefix(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        for end in ("1", "2"):
            thread_id = "0aa0bb00-cc00-7000-8000-00000000000" + end
            await record_thread(store, clock, id=thread_id)
            clock.advance()
        page = await store.list_threads(ThreadQuery(id_prefix="0AA0BB00C", limit=1))
        rest = await store.list_threads(
            ThreadQuery(id_prefix="0aa0bb00-c", limit=1, cursor=page.next_cursor)
        )
        assert [len(page.items), len(rest.items), rest.next_cursor] == [1, 1, None]

    async def test_threads_are_found_by_their_name(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, "the title", name="Straße 100%_done")
        await record_thread(store, clock, "Straße 100%_done")
        await record_thread(store, clock, name="straße 100%_done")
        await record_thread(store, clock, name="Straße 100%_done now")
        assert await listed(store, name="Straße 100%_done") == [thread.id]
        assert await listed(store, name="Straße 100%_done", archived=True) == []
        for nobody in ("the title", "Straße", "%", ""):
            assert await listed(store, name=nobody) == [], nobody
        await explicit(store, thread.id, name="other")
        assert await listed(store, name="Straße 100%_done") == []

    @pytest.mark.parametrize("key", SortKey)
    async def test_namesakes_are_listed_in_order(
        self, store: ThreadStore, clock: ManualClock, key: SortKey
    ) -> None:
        ids = []
        for _ in range(5):
            ids.append((await record_thread(store, clock, name="same")).id)
            clock.advance()
        assert await listed(store, name="same", sort_key=key, limit=2) == ids[::-1]
        backwards = await listed(store, name="same", sort_key=key, descending=False, limit=2)
        assert backwards == ids

    async def test_search_looks_into_name_title_and_preview(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        said = await record_thread(store, clock, "Fix the Parser of ZÜRICH")
        named = await record_thread(store, clock, "something", name="Straße 100%_done")
        assert await listed(store, search_term="parser") == [said.id]
        assert await listed(store, search_term="zürich") == [said.id]
        assert await listed(store, search_term="STRASSE") == [named.id]
        assert await listed(store, search_term="some") == [named.id]
        assert set(await listed(store, search_term="")) == {said.id, named.id}
        assert await listed(store, search_term="nowhere") == []

    async def test_nothing_in_a_search_term_is_a_wildcard(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        percent = await record_thread(store, clock, "100% sure")
        under = await record_thread(store, clock, "snake_case")
        quoted = await record_thread(store, clock, 'it\'s a "test" \\ [x]*')
        await record_thread(store, clock, "plain")
        assert await listed(store, search_term="%") == [percent.id]
        assert await listed(store, search_term="_") == [under.id]
        for term in ("'", '"', "\\", "[x]", "*"):
            assert await listed(store, search_term=term) == [quoted.id], term

    async def test_search_follows_the_name(self, store: ThreadStore, clock: ManualClock) -> None:
        thread = await record_thread(store, clock, name="before")
        await explicit(store, thread.id, name="after")
        assert await listed(store, search_term="before") == []
        assert await listed(store, search_term="after") == [thread.id]
        await explicit(store, thread.id, name=None)
        assert await listed(store, search_term="after") == []

    async def test_search_finds_every_line_of_a_long_message(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await record_thread(store, clock, "first line\n" + "x " * 500 + "\nneedle")
        assert await listed(store, search_term="needle") == [thread.id]

    async def test_only_displayable(self, store: ThreadStore, clock: ManualClock) -> None:
        said = (await record_thread(store, clock)).id
        empty = (await empty_thread(store)).id
        named = (await empty_thread(store)).id
        await explicit(store, named, name="name")
        assert set(await listed(store)) == {said, empty, named}
        assert set(await listed(store, only_displayable=True)) == {said, named}

    async def test_filters_work_together(self, store: ThreadStore, clock: ManualClock) -> None:
        origin = "https://example.org/right.git"
        right = {
            "cwd": "/right",
            "source": "exec",
            "model_provider": "mock",
            "git": GitInfo(origin_url=origin),
        }
        wanted = (await record_thread(store, clock, "find me", **right)).id  # type: ignore[arg-type]
        for wrong in ({"cwd": "/x"}, {"source": "cli"}, {"model_provider": "x"}, {"git": None}):
            await record_thread(store, clock, "find me", **{**right, **wrong})  # type: ignore[arg-type]
        await record_thread(store, clock, "other", **right)  # type: ignore[arg-type]
        query = {
            "cwds": ("/right",),
            "sources": ("exec",),
            "model_providers": ("mock",),
            "models": ("gpt-5.1",),
            "git_origins": (origin,),
            "search_term": "FIND",
            "id_prefix": wanted[:9],
            "only_displayable": True,
        }
        assert await listed(store, **query) == [wanted]
        assert await listed(store, **query, archived=True) == []
        assert await listed(store, **{**query, "models": ("x",)}) == []

    @pytest.mark.parametrize("key", SortKey)
    async def test_pages_of_a_filter_are_full(
        self, store: ThreadStore, clock: ManualClock, key: SortKey
    ) -> None:
        wanted = []
        for number in range(12):
            source = "exec" if number % 3 == 0 else "cli"
            thread = await record_thread(store, clock, f"message {number}", source=source)
            wanted += [thread.id] if source == "exec" else []
            clock.advance()
        first = await store.list_threads(ThreadQuery(sources=("exec",), sort_key=key, limit=3))
        assert len(first.items) == 3
        assert await listed(store, sources=("exec",), sort_key=key, limit=3) == wanted[::-1]
        assert (
            await listed(store, search_term="message", sources=("exec",), sort_key=key, limit=1)
            == wanted[::-1]
        )

    async def test_every_filter_pages_without_skips_or_repeats(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        origin = "https://example.org/a.git"
        wanted: list[str] = []
        for number in range(8):
            odd = {"source": "cli", "cwd": "/other", "model_provider": "other"}
            even = {"cwd": "/here", "model_provider": "here", "git": GitInfo(origin_url=origin)}
            new: dict[str, Any] = odd if number % 2 else {"source": "exec", **even}
            thread = await record_thread(store, clock, f"{new['cwd']} {number}", **new)
            wanted += [] if number % 2 else [thread.id]
            clock.advance(1 if number % 4 else 0)
        filters: list[dict[str, Any]] = [
            {"cwds": ("/here", "/nowhere")},
            {"model_providers": ("here",)},
            {"git_origins": (origin,)},
            {"sources": ("exec",), "models": ("gpt-5.1",)},
            {"exclude_sources": ("cli",), "only_displayable": True},
            {"search_term": "/HERE"},
            {"search_term": "/h", "archived": None},
        ]
        for query in filters:
            for key in SortKey:
                found = await listed(store, **query, sort_key=key, limit=3)
                assert sorted(found) == sorted(wanted), (query, key)

    async def test_a_live_thread_passes_the_same_filters(
        self, store: ThreadStore, clock: ManualClock
    ) -> None:
        thread = await store.create_thread(NewThread(cwd="/live", source="exec"))
        await store.append_items(thread.id, [items.agent_message("x")])
        assert await listed(store, cwds=("/live",), sources=("exec",)) == [thread.id]
        assert await listed(store, cwds=("/dead",)) == []
