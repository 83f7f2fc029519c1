"""Scripted answers with all the ways in which an answer can go wrong, and the server for them.

A script is a function of the request (and, for connections that break once, of how often it
came before). Where an answer has to wait, it waits at a gate that the player opens.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from tests.codex.model_server import Handler, ModelServer, Request, item_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

Json = dict[str, Any]
PATIENCE = 60
"""Seconds that an answer waits at a gate before it goes on all the same."""


class Completed(NamedTuple):
    """The response is complete and used this many tokens; ``None``: it does not say."""

    input_tokens: int | None = 1000
    output_tokens: int = 20


class Failed(NamedTuple):
    """The response failed in the middle of its stream."""

    code: str
    message: str = "failed by the script"


class Incomplete(NamedTuple):
    """The response ended too early."""

    reason: str = "max_output_tokens"


class HungUp(NamedTuple):
    """The connection ends without a word."""


class Refused(NamedTuple):
    """No stream at all: an HTTP status and an error."""

    status: int
    error: Json


class Held(NamedTuple):
    """An item of which the second half comes when the gate is opened; ``None``: never."""

    item: Json
    gate: str | None = "message"


Ending: TypeAlias = Completed | Failed | Incomplete | HungUp | Refused


class Reply(NamedTuple):
    """One answer: output items, and how it ends."""

    items: tuple[Json | Held, ...] = ()
    ending: Ending = Completed()
    limits: bool = True
    """Whether the headers tell the account's limits."""


Script: TypeAlias = "Callable[[Request, int], Reply]"


class SceneServer(ModelServer):
    """Plays the scripts of :mod:`tests.codex.scenes.scripts`."""

    def __init__(self, scripts: dict[str, Script]) -> None:
        super().__init__(_Handler)
        self._http.daemon_threads = False  # closing waits for them
        self.scripts = scripts
        self.gates: dict[str, threading.Event] = defaultdict(threading.Event)
        self.finished = threading.Event()
        """Set while the latest answer is complete, and its reader knows."""
        self.tries: Counter[tuple[str, int]] = Counter()
        """How often each step of a script was asked for."""

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for gate in self.gates.values():
            gate.set()
        super().__exit__(exc_type, exc, traceback)

    def reply(self, request: Request) -> Reply:
        """The scripted answer."""
        key = request.scene, len(request.outputs)
        self.tries[key] += 1
        return self.scripts[request.scene](request, self.tries[key] - 1)


class _Handler(Handler):
    def answer(self, request: Request) -> None:
        owner = self.server.owner
        assert isinstance(owner, SceneServer)
        owner.finished.clear()
        reply = owner.reply(request)
        if isinstance(reply.ending, Refused):
            self.send_json(reply.ending.status, {"error": reply.ending.error})
            return
        self.begin_stream(limits=reply.limits)
        response = {"id": f"resp_{request.tag}", "object": "response", "model": "scripted"}
        self.send_event(
            {"type": "response.created", "response": {**response, "status": "in_progress"}}
        )
        for index, item in enumerate(reply.items):
            self._send_item(owner, index, item)
        for event in _ending(reply.ending, response):
            self.send_event(event)
        if isinstance(reply.ending, Completed):
            self._wait_for_hang_up()
        owner.finished.set()

    def _wait_for_hang_up(self) -> None:
        """Both clients hang up as soon as they have read that the response is complete."""
        self.connection.settimeout(PATIENCE)
        self.connection.recv(1)

    def _send_item(self, owner: SceneServer, index: int, item: Json | Held) -> None:
        if not isinstance(item, Held):
            for event in [*item_events(index, item)]:
                for part in _with_summary(event, index):
                    self.send_event(part)
            return
        events = [*item_events(index, item.item)]
        for event in events[: len(events) // 2]:
            self.send_event(event)
        if item.gate is None:
            return
        owner.gates[item.gate].wait(PATIENCE)
        for event in events[len(events) // 2 :]:
            self.send_event(event)


def _with_summary(event: Json, index: int) -> Iterator[Json]:
    """The summary of reasoning comes in pieces before the item is done."""
    item = event.get("item", {})
    if event["type"].endswith("item.done") and item.get("type") == "reasoning":
        for number, part in enumerate(item["summary"]):
            place = {"item_id": item["id"], "output_index": index, "summary_index": number}
            added = {**part, "text": ""}
            yield {"type": "response.reasoning_summary_part.added", **place, "part": added}
            delta = {"delta": part["text"]}
            yield {"type": "response.reasoning_summary_text.delta", **place, **delta}
    yield event


def _ending(ending: Ending, response: Json) -> Iterator[Json]:
    match ending:
        case Completed():
            done = {**response, "status": "completed", "output": []}
            if ending.input_tokens is not None:
                done["usage"] = _usage(ending.input_tokens, ending.output_tokens)
            yield {"type": "response.completed", "response": done}
        case Failed():
            failed = {**response, "status": "failed", "error": ending._asdict()}
            yield {"type": "response.failed", "response": failed}
        case Incomplete():
            details = {"incomplete_details": {"reason": ending.reason}}
            incomplete = {**response, "status": "incomplete", **details}
            yield {"type": "response.incomplete", "response": incomplete}


def _usage(input_tokens: int, output_tokens: int) -> Json:
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {"cached_tokens": input_tokens // 10},
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": output_tokens // 4},
        "total_tokens": input_tokens + output_tokens,
    }
