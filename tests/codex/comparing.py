"""What must be equal between a thread of Codex and ours."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import apsw

from threadstore.factory import open_store
from threadstore.history.turns import build_turns
from threadstore.protocol.codex_thread import protocol_turn
from threadstore.queries import ThreadQuery

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.app_server import Json

EVERYTHING = ThreadQuery(archived=None, limit=1000)
EQUAL = ("name", "preview", "modelProvider", "cwd", "source", "cliVersion", "createdAt")

SHOWN_AFTER_RESUME = (
    "what we wrote is in `thread/read` once the thread has been resumed: until then Codex shows its"
    " own projection of a paginated thread"
)
"""Of turns of ours in paginated threads."""


async def our_turns(home: Path, thread_id: str, *, damaged: bool = False) -> list[Json]:
    """The turns as we see them, in the protocol's form; *damaged*: one line is."""
    async with open_store(f"local:{home}") as store:
        history = await store.load_history(thread_id)
    assert len(history.damage) == damaged
    return [protocol_turn(turn) for turn in build_turns(history.items)]


def differences(ours: Json, theirs: Json) -> list[str]:
    """Every fact that is not equal, readably."""
    return [
        f"{name}.{key}: {value!r} here, {theirs[name][key]!r} there"
        for name, members in ours.items()
        for key, value in members.items()
        if theirs[name][key] != value
    ]


def facts(thread: Json) -> Json:
    """What must be equal of a protocol thread."""
    return {**{key: thread[key] for key in EQUAL}, "gitInfo": thread["gitInfo"]}


def told(turns: list[Json]) -> list[tuple[str, list[str]]]:
    """How each turn ended and what was said in it."""
    return [
        (
            turn["status"],
            [
                item.get("text") or item["content"][0]["text"]
                for item in turn["items"]
                if item["type"] in ("userMessage", "agentMessage")
            ],
        )
        for turn in turns
    ]


def memory_modes(home: Path) -> dict[str, str]:
    """The memory modes in Codex's own table, which no method of its server answers."""
    connection = apsw.Connection(str(home / "state_5.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    with contextlib.closing(connection):
        return dict(list(connection.execute("SELECT id, memory_mode FROM threads")))
