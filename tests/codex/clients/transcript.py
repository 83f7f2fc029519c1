"""What a client and its server said, without what is never the same twice: ids, times, places."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.codex.scenes.orders import notification_word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Answer", "Transcript", "members", "named"]

Json = dict[str, Any]
PATIENCE: Final = 30.0
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d|\d{4}/\d\d/\d\d")
_TIMES: Final = re.compile(r"At(Ms)?$|^durationMs$")
_CURSORS: Final = re.compile(r"Cursor$")
_TOTAL: Final = re.compile(r"\[\d+/")


class Answer(NamedTuple):
    """A request's method, and its result or error."""

    method: str
    content: Json


class Transcript:
    """What ``tee.py`` wrote down, in the order in which it was said."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def messages(self) -> Iterator[tuple[bool, Json]]:
        """Whether the client said it, and what; only whole lines."""
        text = self.path.read_text() if self.path.exists() else ""
        for line in text.split("\n")[:-1]:
            yield line.startswith(">"), json.loads(line[2:])

    def count(self, method: str) -> int:
        """How many notifications of a method have come so far."""
        return sum(note["method"] == method for note in self.notifications())

    def wait(self, method: str, count: int) -> None:
        """Wait until so many have come: for what the client does not tell its user."""
        deadline = time.monotonic() + PATIENCE
        while self.count(method) < count:
            assert time.monotonic() < deadline, f"no {method}"
            time.sleep(0.02)

    def notifications(self) -> list[Json]:
        """What the server told."""
        return [message for ours, message in self.messages() if not ours and "method" in message]

    def answers(self) -> list[Answer]:
        """What was asked, in this order, and the answers."""
        asked: dict[str, str] = {}
        answers: dict[str, Json] = {}
        for from_client, message in self.messages():
            if from_client and "id" in message and "method" in message:
                asked[message["id"]] = message["method"]
            elif not from_client and "method" not in message:
                answers[message["id"]] = {key: message[key] for key in message if key != "id"}
        return [Answer(method, answers.get(key, {})) for key, method in asked.items()]

    def turns(self) -> list[str]:
        """What was told of each turn, one word per notification; what repeats counts once.

        Of token counts the words tell what the last response used, not the thread.
        """
        turns: list[list[str]] = []
        within = False
        for note in self.notifications():
            if note["method"] == "turn/started":
                turns.append([])
                within = True
            word = notification_word(note)
            if word is not None and within and turns[-1][-1:] != [_TOTAL.sub("[", word)]:
                turns[-1].append(_TOTAL.sub("[", word))
            within = within and note["method"] != "turn/completed"
        return [" ".join(turn) for turn in turns]

    def threads(self) -> str:
        """What was told of threads, and the answers, ``=METHOD``, in this order."""
        asked: dict[str, str] = {}
        words: list[str] = []
        for from_client, message in self.messages():
            if from_client and "id" in message:
                asked[message["id"]] = message["method"]
            elif not from_client and "method" not in message:
                words.append(f"={asked[message['id']]}")
            elif not from_client and message["method"].startswith(("thread/", "turn/")):
                words.append(_thread_word(message))
        return " ".join(words)


def _thread_word(note: Json) -> str:
    status = note["params"].get("status")
    return f"{note['method']}[{status['type']}]" if status else str(note["method"])


def members(value: Any, places: dict[str, str], path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a message by their paths. What is null is not there.

    Ids, times, cursors and *places* have names instead of their values.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            known = inner is not None and not isinstance(inner, dict | list)
            where = f"{path}/{named(key, places)}"
            if known and _TIMES.search(key):
                yield where, "a time"
            elif known and _CURSORS.search(key):
                yield where, "a cursor"
            else:
                yield from members(inner, places, where)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from members(inner, places, f"{path}/{index}")
    elif value is not None:
        yield path, named(value, places) if isinstance(value, str) else value


def named(text: str, places: dict[str, str]) -> str:
    """*text* with names for *places*, ids and moments."""
    for place, name in places.items():
        text = text.replace(place, name)
    return _MOMENT.sub("a time", _ID.sub("an id", text))
