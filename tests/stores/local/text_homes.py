"""A home that other programs change while its texts are searched, and what is found in it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import msgspec
from tests.stores.local.homes import CodexHome, encode, header

from threadstore.config import LocalStoreConfig
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.queries import ThreadQuery
from threadstore.search import Occurrence, SearchHit, SearchPage, SearchQuery, scan
from threadstore.store import ThreadStore
from threadstore.stores.local.compression import zstd
from threadstore.stores.local.paths import archived_path, existing_path, find_by_id
from threadstore.stores.local.store import LocalThreadStore
from threadstore.testing import items

WORDS = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "Straße",
    "黒猫は走る",
    "foo.bar(x)",
    "snake_case",
    "é1",
)
QUERIES = (
    *(
        "alpha",
        "alpha beta",
        '"alpha beta"',
        "gam*",
        "strasse",
        "黒猫",
        "猫",
        "foo.bar",
        "snake case",
    ),
    *("a*", "title", "nothing", "alpha -beta gamma", "half", "whole", "é1"),
)
LITERALS = ("alpha", "foo.bar(", "snake_", "黒猫", "alpha beta", "STRASSE", "ß", "a b")


def config(home: Path, **options: object) -> LocalStoreConfig:
    """Settings with which nothing is overlooked and nothing hurries."""
    fields = {"home": str(home), "refresh_interval": 0.0, "search_patience": 60.0, **options}
    return msgspec.convert(fields, LocalStoreConfig)


def open_home(home: Path, **options: object) -> LocalThreadStore:
    """A store there."""
    return LocalThreadStore(config(home, **options))


def text_file(home: Path) -> Path:
    """The file of the text index."""
    return home / "threadstore_text_1.sqlite"


async def every_hit(store: ThreadStore, query: SearchQuery) -> list[SearchHit]:
    """The hits of all pages."""
    found: list[SearchHit] = []
    while True:
        page = await store.search_threads(query)
        assert page.degraded is None
        found += page.items
        if page.next_cursor is None:
            return found
        query = behind(query, page)


def behind(query: SearchQuery, page: SearchPage) -> SearchQuery:
    """The same search, one page on."""
    threads = msgspec.structs.replace(query.threads, cursor=page.next_cursor)
    return msgspec.structs.replace(query, threads=threads)


async def every_occurrence(
    store: ThreadStore, thread_id: str, query: SearchQuery, *, descending: bool
) -> list[Occurrence]:
    """The places of all pages."""
    found: list[Occurrence] = []
    cursor: str | None = None
    while True:
        page = await store.search_occurrences(
            thread_id, query, cursor=cursor, limit=3, descending=descending
        )
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


async def check_same(store: LocalThreadStore, query: SearchQuery) -> list[SearchHit]:
    """What the index finds is what reading everything finds; the hits."""
    found = await every_hit(store, query)
    wide = msgspec.structs.replace(query.threads, limit=10_000)
    read = await scan.search_threads(store, msgspec.structs.replace(query, threads=wide))
    if query.ranked:
        assert sorted(hit.thread.id for hit in found) == sorted(hit.thread.id for hit in read.items)
    else:
        assert found == list(read.items), query
    return found


async def check_home(store: LocalThreadStore, rng: random.Random, searches: int = 6) -> None:
    """The same, for some searches."""
    for _ in range(searches):
        literal = rng.random() < 0.3
        query = SearchQuery(
            text=rng.choice(LITERALS if literal else QUERIES),
            literal=literal,
            ranked=rng.random() < 0.2,
            roles=rng.choice((None, None, ("user",), ("tool", "title"), ())),  # type: ignore[arg-type]
            tools=rng.choice((None, None, None, ("shell",), ("shell", "read"))),
            threads=ThreadQuery(
                limit=rng.choice((1, 2, 25)),
                archived=rng.choice((False, None, True)),
                descending=rng.random() < 0.7,
                cwds=rng.choice((None, None, ("/repo",))),
            ),
        )
        for hit in (await check_same(store, query))[:2]:
            for descending in (False, True):
                places = await every_occurrence(store, hit.thread.id, query, descending=descending)
                read = await scan.search_occurrences(
                    store, hit.thread.id, query, None, 10_000, descending=descending
                )
                assert places == list(read.items)


class ChangingHome(CodexHome):
    """A home in which other programs do all that they do."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        super().__init__(folder)
        self._rng = rng
        self._minute = 0
        self.ids: list[str] = []

    def sentence(self) -> str:
        return " ".join(self._rng.choices(WORDS, k=self._rng.randint(1, 6)))

    def turn(self) -> list[RolloutItem]:
        call = new_thread_id()
        tool = self._rng.choice(("shell", "read"))
        return [
            items.event("task_started", turn_id=call),
            items.user_response(self.sentence()),
            items.user_message(self.sentence()),
            items.function_call(call, tool, f'{{"command": "{self.sentence()}"}}'),
            items.function_call_output(call, self.sentence()),
            items.agent_message(self.sentence()),
            items.event("task_complete", turn_id=call),
        ]

    def grow(self) -> None:
        """A new thread."""
        thread_id = new_thread_id()
        cwd = self._rng.choice(("/repo", "/other"))
        self._minute += 1
        stamp = f"2026-05-04T03-{self._minute % 60:02}-01"
        path = self.path(thread_id, stamp=stamp)
        self.write([header(thread_id, cwd=cwd), *self.turn(), *self.turn()], path=path)
        self.ids.append(thread_id)

    def change(self) -> None:
        """One thing that happens to a thread."""
        if not self.ids or self._rng.random() < 0.25:
            self.grow()
            return
        thread_id = self._rng.choice(self.ids)
        file = find_by_id(self.home, thread_id)[0]
        done = self._rng.choice(
            (
                "append",
                "append",
                "half",
                "whole",
                "rollback",
                "rewrite",
                "cut",
                "zst",
                "move",
                "name",
                "gone",
            )
        )
        actual = existing_path(file.path)
        assert actual is not None
        plain = actual == file.path
        if done == "append" and plain:
            self._add(file.path, encode(self.turn()))
        elif done == "half" and plain:
            self._add(
                file.path, encode([items.agent_message("half alpha")])[: self._rng.choice((-1, -9))]
            )
        elif done == "whole" and plain:
            self._add(file.path, b"\n" + encode([items.agent_message("whole beta")]))
        elif done == "rollback" and plain:
            self._add(file.path, encode([items.event("thread_rolled_back", num_turns=1)]))
        elif done == "rewrite" and plain:
            self.write([header(thread_id), *self.turn()], path=file.path)
        elif done == "cut" and plain:
            os.truncate(file.path, file.size * 2 // 3)
        elif done == "zst" and plain:
            Path(f"{file.path}.zst").write_bytes(zstd.compress(Path(file.path).read_bytes()))
            os.unlink(file.path)
        elif done == "move" and not file.archived:
            os.makedirs(self.home.archived, exist_ok=True)
            os.rename(actual, archived_path(self.home, actual))
        elif done == "name":
            self.name(thread_id, f"title {self.sentence()}")
        elif done == "gone" and len(self.ids) > 4:
            os.unlink(actual)
            self.ids.remove(thread_id)

    def _add(self, path: str, data: bytes) -> None:
        with open(path, "ab") as file:
            file.write(data)
