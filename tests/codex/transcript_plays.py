"""What is played to real servers and to ours: stories of threads, and faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.codex.transcripts import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.codex.transcripts import Player

Json = dict[str, Any]

_TEXT: Final = [{"type": "text", "text": "hi [scene plain]"}]
_ON_THREADS: Final[dict[str, Json]] = {
    "thread/read": {},
    "thread/resume": {},
    "thread/fork": {},
    "thread/archive": {},
    "thread/unarchive": {},
    "thread/name/set": {"name": "x"},
    "thread/metadata/update": {"gitInfo": {"branch": "b"}},
    "thread/memoryMode/set": {"mode": "disabled"},
    "thread/unsubscribe": {},
    "thread/compact/start": {},
    "thread/turns/list": {},
    "thread/inject_items": {"items": []},
    "turn/start": {"input": _TEXT},
    "turn/steer": {"input": _TEXT, "expectedTurnId": UNKNOWN},
    "turn/interrupt": {"turnId": UNKNOWN},
}


def unknown(player: Player) -> None:
    """Every method on a thread that does not exist, and on what is no id."""
    for method, params in _ON_THREADS.items():
        player.ask(f"{method} unknown", method, threadId=UNKNOWN, **params)
        player.ask(f"{method} no id", method, threadId="not-a-uuid", **params)


def faults(player: Player) -> None:
    """Parameters that cannot be."""
    ask = player.ask
    ask("read without an id", "thread/read")
    ask("no such method", "no/such/method")
    ask("provider", "thread/start", modelProvider="nope")
    ask("sandbox", "thread/start", sandbox="bogus")
    ask("cursor", "thread/list", cursor="garbage")
    ask("initialize again", "initialize", clientInfo={"name": "a", "version": "1"})


def names(player: Player) -> None:
    """Names of threads that are loaded."""
    ask = player.ask
    one, two = player.threads("apples", "pears")
    ask("name", "thread/name/set", threadId=one, name="  Alpha ")
    ask("same name", "thread/name/set", threadId=two, name="Alpha")
    ask("empty", "thread/name/set", threadId=one, name=" ")
    ask("list", "thread/list")
    ask("search", "thread/list", searchTerm="Alpha")
    ask("search nothing", "thread/list", searchTerm="nothing")
    ask("read", "thread/read", threadId=one)


def metadata(player: Player) -> None:
    """Git facts and memory mode."""
    ask = player.ask
    [one] = player.threads("apples")
    update = "thread/metadata/update"
    ask("set", update, threadId=one, gitInfo={"sha": "abc", "branch": " main "})
    ask("clear", update, threadId=one, gitInfo={"sha": None})
    ask("blank", update, threadId=one, gitInfo={"branch": " "})
    ask("nothing", update, threadId=one, gitInfo={})
    ask("memory", "thread/memoryMode/set", threadId=one, mode="disabled")
    ask("read", "thread/read", threadId=one)


def listing(player: Player) -> None:
    """Pages and filters."""
    ask = player.ask
    player.threads("one", "two", "three")
    for key in ("created_at", "updated_at"):
        first = ask(f"{key} first", "thread/list", sortKey=key, limit=2)
        ask(f"{key} next", "thread/list", sortKey=key, limit=2, cursor=first.get("nextCursor"))
    ask("all", "thread/list")
    ask("at least one", "thread/list", limit=0)
    ask("providers", "thread/list", modelProviders=["openai"])
    ask("cli", "thread/list", sourceKinds=["cli"])
    ask("archived", "thread/list", archived=True)
    ask("elsewhere", "thread/list", cwd="/no/such/place")
    ask("loaded", "thread/loaded/list")


def archive(player: Player) -> None:
    """There and back."""
    ask = player.ask
    [one] = player.threads("apples")
    ask("archive", "thread/archive", threadId=one)
    ask("list", "thread/list")
    ask("archived", "thread/list", archived=True)
    ask("read", "thread/read", threadId=one)
    ask("archive again", "thread/archive", threadId=one)
    ask("name", "thread/name/set", threadId=one, name="x")
    ask("unarchive", "thread/unarchive", threadId=one)
    ask("unarchive again", "thread/unarchive", threadId=one)
    ask("resume", "thread/resume", threadId=one)


def ephemeral(player: Player) -> None:
    """A thread that is stored nowhere."""
    ask = player.ask
    one = player.start(ephemeral=True)
    player.server.run_turn(one, "no trace [scene plain]")
    ask("read", "thread/read", threadId=one)
    ask("turns", "thread/read", threadId=one, includeTurns=True)
    ask("list turns", "thread/turns/list", threadId=one)
    ask("list", "thread/list")
    ask("loaded", "thread/loaded/list")
    for method in ("thread/name/set", "thread/metadata/update", "thread/memoryMode/set"):
        ask(method, method, threadId=one, **_ON_THREADS[method])
    ask("archive", "thread/archive", threadId=one)
    ask("fork", "thread/fork", threadId=one)


def unused(player: Player) -> None:
    """A thread without turns."""
    ask = player.ask
    one = player.start()
    ask("read", "thread/read", threadId=one)
    ask("turns", "thread/read", threadId=one, includeTurns=True)
    ask("list", "thread/list")
    ask("fork", "thread/fork", threadId=one)
    ask("name", "thread/name/set", threadId=one, name="early")
    ask("read named", "thread/read", threadId=one)
    player.server.run_turn(one, "first [scene plain]")
    ask("read used", "thread/read", threadId=one, includeTurns=True)
    ask("leave", "thread/unsubscribe", threadId=one)


def turns(player: Player) -> None:
    """Turns, read in every way."""
    ask = player.ask
    [one] = player.threads("apples")
    player.server.run_turn(one, "more [scene plain]")
    ask("read", "thread/read", threadId=one, includeTurns=True)
    ask("list", "thread/turns/list", threadId=one)
    first = ask("first", "thread/turns/list", threadId=one, limit=1, sortDirection="asc")
    ask("next", "thread/turns/list", threadId=one, limit=1, sortDirection="asc",
        cursor=first.get("nextCursor"))  # fmt: skip
    ask("views", "thread/turns/list", threadId=one, itemsView="notLoaded")
    ask("cursor", "thread/turns/list", threadId=one, cursor="bogus")
    ask("interrupt idle", "turn/interrupt", threadId=one, turnId=UNKNOWN)
    ask("steer idle", "turn/steer", threadId=one, expectedTurnId=UNKNOWN, input=_TEXT)
    ask("resume", "thread/resume", threadId=one)


def forks(player: Player) -> None:
    """A fork, and a fork of it."""
    ask = player.ask
    [one] = player.threads("apples")
    fork = ask("fork", "thread/fork", threadId=one)["thread"]["id"]
    ask("read", "thread/read", threadId=fork, includeTurns=True)
    player.server.run_turn(fork, "on [scene plain]")
    ask("read on", "thread/read", threadId=fork, includeTurns=True)
    ask("fork of it", "thread/fork", threadId=fork)


PLAYS: Final[dict[str, Callable[[Player], None]]] = {
    play.__name__: play
    for play in (
        unknown, faults, names, metadata, listing, archive, ephemeral, unused, turns, forks,
    )
}  # fmt: skip
