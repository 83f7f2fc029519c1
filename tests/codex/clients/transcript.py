"""What a client and its server said, without what is never the same twice: ids, times, places."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.codex.scenes.orders import notification_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["Answer", "Transcript", "members"]

Json = dict[str, Any]
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIMES: Final = re.compile(r"At(Ms)?$|^durationMs$")
_CURSORS: Final = re.compile(r"Cursor$")


class Answer(NamedTuple):
    """A request's method, and its result or error."""

    method: str
    content: Json


class Transcript:
    """What ``tee.py`` wrote down, in the order in which it was said."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def messages(self) -> Iterator[tuple[bool, Json]]:
        """Whether the client said it, and what; only whole lines."""
        for line in self._path.read_text().split("\n")[:-1]:
            yield line.startswith(">"), json.loads(line[2:])

    def answers(self) -> list[Answer]:
        """What was asked, in this order, and the answers."""
        asked: dict[str, str] = {}
        answers: dict[str, Json] = {}
        for from_client, message in self.messages():
            if from_client and "id" in message and "method" in message:
                asked[message["id"]] = message["method"]
            elif not from_client and "method" not in message:
                answers[message["id"]] = {
                    key: message[key] for key in ("result", "error") if key in message
                }
        return [Answer(method, answers.get(key, {})) for key, method in asked.items()]

    def notifications(self) -> list[Json]:
        """What the server told."""
        return [message for ours, message in self.messages() if not ours and "method" in message]

    def turns(self) -> list[list[str]]:
        """What was told of each turn, one word per notification; what repeats counts once."""
        words: list[list[str]] = []
        for note in self.notifications():
            word = notification_word(note)
            if note["method"] == "turn/started":
                words.append([])
            if word and words and words[-1][-1:] != [word]:
                words[-1].append(word)
        return words

    def around_turns(self) -> list[str]:
        """The methods of what was told of threads, and the answers to what changed them."""
        asked: dict[str, str] = {}
        words = []
        for from_client, message in self.messages():
            method = message.get("method", "")
            if from_client and "id" in message:
                asked[message["id"]] = method
            elif from_client:
                continue
            elif not method:
                words.append(f"={asked[message['id']]}")
            elif method.startswith("thread/") and not method.startswith("thread/tokenUsage"):
                status = message["params"].get("status")
                words.append(f"{method}[{status['type']}]" if status else method)
            elif method.startswith("turn/"):
                words.append(method)
        return words


def members(value: Any, places: dict[str, str], path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a message by their paths, with names for *places*, ids and times."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            known = inner is not None and not isinstance(inner, dict | list)
            if known and _TIMES.search(key):
                yield f"{path}/{key}", "a time"
            elif known and _CURSORS.search(key):
                yield f"{path}/{key}", "a cursor"
            else:
                yield from members(inner, places, f"{path}/{key}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from members(inner, places, f"{path}/{index}")
    elif isinstance(value, str):
        for place, name in places.items():
            value = value.replace(place, name)
        yield path, _ID.sub("an id", value)
    else:
        yield path, value


def sorted_members(value: Any, places: dict[str, str]) -> dict[str, Any]:
    """All leaves of a message."""
    return dict(sorted(_strict(members(value, places))))


def _strict(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    yield from pairs
