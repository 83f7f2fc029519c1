"""Requests played to a server, and what it answers, without what is never the same twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tests.codex.app_server import RpcError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.codex.app_server import AppServer

Json = dict[str, Any]

UNKNOWN: Final = "019a0000-0000-7000-8000-000000000000"
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|item-\d+|msg_\w+|rs_\w+")
_VARIES: Final = re.compile(r"(At|AtMs|durationMs|path|cliVersion|Cursor|userAgent|readStates?)$")
_PATHS: Final = re.compile(r"/[^\s\"]*/(home|cwd)\b")


class Player:
    """Asks one server, and keeps what it answered under a label."""

    def __init__(self, server: AppServer, cwd: Path, mode: str) -> None:
        """New threads have this history *mode*."""
        self.server = server
        self.cwd = cwd
        self.mode = mode
        self.answers: dict[str, Json] = {}

    def ask(self, label: str, method: str, **params: Any) -> Json:
        """Ask, and keep the answer or error; an error gives an empty result."""
        assert label not in self.answers, label
        try:
            result = self.server.call(method, **params)
        except RpcError as error:
            self.answers[label] = {"error": {"code": error.code, "message": plain(error.message)}}
            return {}
        self.answers[label] = {"result": result}
        return result

    def start(self, **params: Any) -> str:
        """The id of a new thread."""
        mode = {"historyMode": "paginated"} if self.mode == "paginated" else {}
        return self.server.start_thread(self.cwd, **mode, **params)

    def threads(self, *texts: str) -> list[str]:
        """New threads with a turn each."""
        ids = []
        for text in texts:
            thread_id = self.start()
            self.server.run_turn(thread_id, f"{text} [scene plain]")
            ids.append(thread_id)
        return ids


def plain(text: str) -> str:
    """Text without ids and paths."""
    return _PATHS.sub("PATH", _ID.sub("ID", text))


def differences(theirs: Player, ours: Player) -> Iterator[str]:
    """Where our answers lack what theirs have, or say something else. More is no difference."""
    assert theirs.answers.keys() == ours.answers.keys()
    for label, answer in theirs.answers.items():
        yield from _compared(label, answer, ours.answers[label])


def _compared(where: str, theirs: Any, ours: Any) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key, value in theirs.items():
            if key not in ours:
                yield f"{where}: {_outcome(key, value)}, ours {_outcomes(ours)}"
            elif not _VARIES.search(key):
                yield from _compared(f"{where}.{key}", value, ours[key])
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield f"{where}: {len(theirs)}, ours {len(ours)}"
        for index, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            yield from _compared(f"{where}[{index}]", one, other)
    elif _value(theirs) != _value(ours):
        yield f"{where}: {_value(theirs)}, ours {_value(ours)}"


def _outcome(key: str, value: Any) -> str:
    return str(value["message"]) if key == "error" else key


def _outcomes(answer: Json) -> str:
    return ", ".join(_outcome(key, value) for key, value in answer.items() if key == "error") or (
        "answers" if "result" in answer else "lacks it"
    )


def _value(value: Any) -> str:
    return plain(value) if isinstance(value, str) else type(value).__name__ + f" {value}"
