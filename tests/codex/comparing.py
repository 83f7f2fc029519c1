"""What must be equal between a thread of Codex and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threadstore.factory import open_store
from threadstore.history.turns import build_turns
from threadstore.protocol.codex_thread import protocol_turn
from threadstore.queries import ThreadQuery

if TYPE_CHECKING:
    from pathlib import Path

    from tests.codex.app_server import Json

EVERYTHING = ThreadQuery(archived=None, limit=1000)
EQUAL = ("name", "preview", "modelProvider", "cwd", "source", "cliVersion", "createdAt")


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
