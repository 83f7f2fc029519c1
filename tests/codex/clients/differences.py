"""Where our answers to the SDK are other than those of Codex 0.169.0, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.codex.clients.transcript import members

if TYPE_CHECKING:
    from tests.codex.clients.sdk import Played

__all__ = ["DIFFERENCES", "differences", "said_once", "thread_words", "turn_words"]


class Difference(NamedTuple):
    """Members (a regular expression) of the answers to methods (another one) that differ."""

    methods: str
    members: str
    why: str


_THREAD: Final = r"/result/(thread|data/\d+)"
_OPENED: Final = r"thread/(start|resume|fork|read|list|unarchive)"
DIFFERENCES: Final = (
    Difference("initialize", "/result/userAgent", "says who we are, behind the release"),
    Difference("model/list", "/result/data/.*", "the model that is configured, not OpenAI's"),
    Difference(_OPENED, f"{_THREAD}/cliVersion", "our version"),
    Difference(_OPENED, f"{_THREAD}/historyMode", "legacy unless the client asks for another"),
    Difference(_OPENED, f"{_THREAD}/turns/\\d+/rootTurnId", "legacy histories do not hold it"),
    Difference(
        _OPENED, f"{_THREAD}/turns/\\d+/items/\\d+/(id|startedAtMs|completedAtMs)", "the same"
    ),
    Difference("thread/fork|thread/resume|thread/read", ".*/error/message", "the model's words"),
    Difference("thread/(read|list)", r"/result/readStates?/.*", "what was read is not kept"),
    Difference(_OPENED, f"{_THREAD}/originator", "a fork begins here, whoever asked for it"),
    Difference("thread/list", f"{_THREAD}/forkedFromId", "lists say it as well"),
    Difference(
        "thread/resume",
        "/result/(turns|items)BackwardsCursor",
        "pages of legacy histories start at their end",
    ),
    Difference("thread/resume", "/error/data/.*", "our own code, and what to do next"),
)
_NOT_TOLD: Final = re.compile(r" (thread/readState/changed|thread/goal/cleared)\b")
"""Codex keeps what was read, and goals."""
_CLOSED: Final = re.compile(r" thread/closed(?= =thread/archive)")
"""Whoever follows a thread is told that it is no longer loaded, however that came."""
_LEFT: Final = re.compile(r"( thread/(status/changed\[notLoaded\]|closed))+(?= =initialize|$)")
"""So is a client that leaves, if it is still there when the server stops."""
_TWICE: Final = re.compile(r"( thread/status/changed\[notLoaded\])\1(?= =thread/archive)")
"""Codex archives while the thread shuts down; now and then both say that it is gone."""


def differences(ours: Played, theirs: Played) -> tuple[list[str], set[Difference]]:
    """Where the answers differ against expectation, and the differences that were found."""
    wrong: list[str] = []
    met: set[Difference] = set()
    pairs = zip(ours.transcript.answers(), theirs.transcript.answers(), strict=True)
    for number, (mine, other) in enumerate(pairs, 1):
        assert mine.method == other.method
        for path, values in _unlike(mine.content, other.content, ours, theirs):
            known = _known(mine.method, path)
            if known is None:
                wrong.append(f"{number} {mine.method} {path}: {values[0]!r}, Codex {values[1]!r}")
            else:
                met.add(known)
    return wrong, met


def _unlike(
    mine: Any, other: Any, ours: Played, theirs: Played
) -> list[tuple[str, tuple[Any, Any]]]:
    one, two = dict(members(mine, ours.places)), dict(members(other, theirs.places))
    pairs = {path: (one.get(path), two.get(path)) for path in sorted(one.keys() | two.keys())}
    return [(path, values) for path, values in pairs.items() if values[0] != values[1]]


def _known(method: str, path: str) -> Difference | None:
    for difference in DIFFERENCES:
        if re.fullmatch(difference.methods, method) and re.fullmatch(difference.members, path):
            return difference
    return None


def turn_words(played: Played) -> list[str]:
    """What was told of each turn."""
    return played.transcript.turns()


def thread_words(played: Played) -> str:
    """What was told of threads, and the answers."""
    words = _NOT_TOLD.sub("", played.transcript.threads())
    return _LEFT.sub("", _CLOSED.sub("", words))


def said_once(theirs: str) -> str:
    """What Codex told of threads, without what its threads may say twice; ours must not."""
    return _TWICE.sub(r"\1", theirs)
