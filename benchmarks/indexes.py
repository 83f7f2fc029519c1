"""List indexes of many synthetic threads, made through the index itself."""

from __future__ import annotations

import datetime as dt
import os
import random
from collections.abc import Iterator
from typing import Any, Final

from threadstore.clock import UTC
from threadstore.metadata import GitInfo, StoredThread
from threadstore.stores.local.index_db import IndexDb

__all__ = ["BUSY", "ORIGIN", "QUIET", "RARE", "made_index", "synthetic_threads"]

BUSY: Final = "/home/dev/everything"
"""The folder of nine threads in ten."""
QUIET: Final = "/home/dev/seldom"
"""The folder of three threads."""
RARE: Final = "zanzibar"
"""In the title of twenty threads."""
ORIGIN: Final = "https://example.org/everything.git"
_BATCH: Final = 5000
_START: Final = dt.datetime(2024, 1, 1, tzinfo=UTC)
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def made_index(path: str, number: int) -> IndexDb:
    """An open index of so many threads; one that is there already is used again."""
    index = IndexDb(path)
    there = os.path.exists(path)
    index.open()
    if there and index.count() == number:
        return index
    batch: list[StoredThread] = []
    for thread in synthetic_threads(number):
        batch.append(thread)
        if len(batch) == _BATCH:
            _add(index, batch)
            batch = []
    _add(index, batch)
    while index.read_titles(_BATCH):
        pass
    return index


def _add(index: IndexDb, batch: list[StoredThread]) -> None:
    with index.transaction():
        for thread in batch:
            index.upsert(thread)


def synthetic_threads(number: int) -> Iterator[StoredThread]:
    """Threads as a busy machine has them: 95 % are sub-agents, nearly all in one folder."""
    chance = random.Random(7)
    words = ["".join(chance.choices(_LETTERS, k=chance.randint(3, 9))) for _ in range(5000)]
    for place in range(number):
        created = _START + dt.timedelta(seconds=60 * place)
        millis = int(created.timestamp() * 1000)
        busy = chance.random() < 0.9
        folder = BUSY if busy else f"/home/dev/project-{chance.randrange(2000)}"
        text = " ".join(chance.choices(words, k=40))
        yield StoredThread(
            id=_id(millis, chance),
            created_at=created,
            updated_at=created + dt.timedelta(seconds=chance.randrange(10**6)),
            recency_at=created + dt.timedelta(seconds=chance.randrange(10**6)),
            archived_at=created if chance.random() < 0.1 else None,
            source=_source(chance),
            model_provider="openai" if chance.random() < 0.99 else "ollama",
            model=f"gpt-{chance.randrange(8)}",
            cwd=QUIET if place % (number // 3) == 7 else folder,
            git=GitInfo(origin_url=ORIGIN if busy else f"https://example.org{folder}.git"),
            preview=f"{text} {RARE}" if place % (number // 20) == 11 else text,
            title=text[:60],
        )


def _id(millis: int, chance: random.Random) -> str:
    text = f"{millis << 80 | 7 << 76 | 1 << 63 | chance.getrandbits(62):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _source(chance: random.Random) -> Any:
    if chance.random() < 0.05:
        return chance.choice(["cli", "vscode", "exec", {"custom": "atlas"}])
    parent = "01a201e5-a996-7a61-8db2-c256091e8939"
    return {"subagent": {"thread_spawn": {"parent_thread_id": parent, "depth": 1}}}
