"""A model server on 127.0.0.1 that answers what a test says, in real server-sent events.

Speaks the part of OpenAI's Responses API that clients need, Codex among them: give it to a model
provider with ``wire_api = "responses"`` as its ``base_url``.
"""

from __future__ import annotations

import gzip
import json
import select
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

import msgspec

from threadstore.engine.model import ModelError
from threadstore.stores.local.compression import zstd
from threadstore.testing.replies import (
    Bytes,
    Call,
    Failed,
    Incomplete,
    Pause,
    Raw,
    Reply,
    Say,
    Script,
    ScriptExhausted,
    Think,
    rate_limits,
)

__all__ = [
    "Answer",
    "Bytes",
    "Call",
    "Failed",
    "HangUp",
    "Http",
    "Incomplete",
    "Pause",
    "Raw",
    "Reply",
    "Say",
    "ScriptedModelServer",
    "Silence",
    "Think",
    "rate_limits",
    "usage_limit_reached",
]

Json = dict[str, Any]


class Http(msgspec.Struct, frozen=True):
    """A whole answer that is no stream: an error with its status, or garbage with status 200."""

    status: int
    body: Json | str = ""
    headers: Mapping[str, str] = {}


class Silence(msgspec.Struct, frozen=True):
    """The request is taken, and nothing ever comes back."""


class HangUp(msgspec.Struct, frozen=True):
    """The connection is closed without an answer."""


Answer: TypeAlias = Reply | Http | Silence | HangUp

_CODES: Final = {
    "context_window_exceeded": "context_length_exceeded",
    "usage_limit_exceeded": "insufficient_quota",
    "server_overloaded": "server_is_overloaded",
    "bad_request": "invalid_prompt",
    "internal_server_error": "server_error",
}


def usage_limit_reached(limits: Json | None = None, resets_at: int = 1_800_000_000) -> Http:
    """The 429 of an account whose usage limit is reached, in the form that Codex 0.131 reads."""
    error = {
        "type": "usage_limit_reached",
        "message": "The usage limit has been reached",
        "plan_type": "plus",
        "resets_at": resets_at,
    }
    return Http(429, {"error": error}, _limit_headers(limits))


class ScriptedModelServer:
    """The server, as a context manager.

    *script* is one :data:`Answer` per request, in order, or a function from the decoded request
    body to an answer; it runs in the server's threads. Answers to clients that repeat requests, as
    Codex does, should depend on the body alone, their ids on ``response_id``.
    """

    def __init__(self, script: Sequence[Answer] | Callable[[Json], Answer]) -> None:
        self.requests: list[Json] = []
        """The bodies of all requests so far, in order."""
        self.headers: list[dict[str, str]] = []
        """Their headers, with names in lower case."""
        self.hung_up = threading.Event()
        """Set when a client closed its connection before its answer was complete."""
        self.connections = 0
        """How many were made; one carries any number of requests."""
        self._script = Script(script)
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    @property
    def base_url(self) -> str:
        """For example ``http://127.0.0.1:40001/v1``."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.stopping.set()
        self._http.shutdown()
        self._http.close_connections()
        self._http.server_close()
        self._thread.join()

    def answer(self, body: Json, headers: dict[str, str]) -> tuple[int, Answer]:
        """The number of this request and what the script answers."""
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            try:
                return self._script.next(body)
            except ScriptExhausted as error:
                return len(self.requests), Http(400, {"error": {"message": str(error)}})


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: ScriptedModelServer

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.stopping = threading.Event()
        self.open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        self.owner.connections += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Wake every handler that waits for its client."""
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # its handler was faster
                pass

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error; a script that fails is told to the client."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Quiet."""

    def do_GET(self) -> None:
        self._send(Http(404, {"error": {"message": "not found"}}))

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = _decoded(data, self.headers.get("content-encoding"))
        if not self.path.partition("?")[0].endswith("/responses"):
            self._send(Http(404, {"error": {"message": "not found"}}))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        number, answer = self.server.owner.answer(body, headers)
        try:
            self._answer(body, number, answer)
        except OSError:
            self._lost()

    def _answer(self, body: Json, number: int, answer: Answer) -> None:
        match answer:
            case Http():
                self._send(answer)
            case Reply(error=ModelError(http_status=int(status)) as error, parts=()):
                text = {"error": {"message": str(error), "code": _CODES.get(error.kind)}}
                self._send(Http(status, text, _limit_headers(answer.rate_limits)))
            case Reply():
                self._stream(body, number, answer)
            case Silence():
                self._hang()
            case HangUp():
                self.close_connection = True

    def _send(self, answer: Http) -> None:
        text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
        data = text.encode()
        self.send_response_only(answer.status)  # its date is the script's to say
        if "content-type" not in {name.lower() for name in answer.headers}:
            self.send_header(
                "content-type", "text/html" if answer.body is text else "application/json"
            )
        self._headers({**answer.headers, "content-length": str(len(data))})
        self.wfile.write(data)

    def _headers(self, headers: Mapping[str, str]) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _stream(self, body: Json, number: int, reply: Reply) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self._headers(_limit_headers(reply.rate_limits))
        given = body.get("input")
        items = len(given) if isinstance(given, list) else 1
        for step in reply.events(number, str(body.get("model")), items):
            if isinstance(step, Pause):
                if not self._pause(step):
                    return
            elif isinstance(step, Bytes):
                self._chunk(step.data)
            else:
                self._event(step)
        self._end(reply)

    def _end(self, reply: Reply) -> None:
        if reply.hang:
            self._hang()
        elif reply.cut:
            self.close_connection = True  # without the last chunk: the answer is not whole
        else:
            if reply.error is not None:
                code = _CODES.get(reply.error.kind, "unknown")
                error = {"code": code, "message": str(reply.error)}
                self._event({"type": "response.failed", "response": {"error": error}})
            self.wfile.write(b"0\r\n\r\n")

    def _event(self, event: Json) -> None:
        data = json.dumps(event, ensure_ascii=False)
        self._chunk(f"event: {event['type']}\ndata: {data}\n\n".encode())

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

    def _pause(self, pause: Pause) -> bool:
        """Wait for the gate; false if the client, or the server, is gone first."""
        assert isinstance(pause.gate, threading.Event), "a server's gate is a threading.Event"
        if pause.reached is not None:
            pause.reached.set()
        while not pause.gate.wait(0.02):
            if select.select([self.connection], [], [], 0)[0]:
                self._lost()
                return False
        return True

    def _hang(self) -> None:
        self.connection.recv(1)  # returns when the client closes, or the server does
        self._lost()

    def _lost(self) -> None:
        self.close_connection = True
        if not self.server.stopping.is_set():
            self.server.owner.hung_up.set()


def _decoded(data: bytes, encoding: str | None) -> Json:
    if encoding == "gzip":
        data = gzip.decompress(data)
    elif encoding == "zstd":  # as Codex sends long requests to its own service
        data = zstd.decompress(data)
    body: Json = json.loads(data or b"{}")
    return body


def _limit_headers(limits: Json | None) -> dict[str, str]:
    """The headers that Codex 0.131 reads rate limits from."""
    headers: dict[str, str] = {}
    for name in ("primary", "secondary"):
        window = (limits or {}).get(name)
        if window is not None:
            headers[f"x-codex-{name}-used-percent"] = str(window["used_percent"])
            headers[f"x-codex-{name}-window-minutes"] = str(window["window_minutes"])
            headers[f"x-codex-{name}-reset-at"] = str(window["resets_at"])
    return headers
