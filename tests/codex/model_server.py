"""A scripted model: the part of the OpenAI Responses API that Codex uses, on 127.0.0.1.

Stateless. The scene is the last ``[scene NAME]`` in the user messages of a request, the step
within it the number of tool outputs that follow that message; so retries, resumes and forks need
nothing. Answers are real server-sent events.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

Json = dict[str, Any]

SUMMARY = "Summary: the user tried the scripted scenes and all of them worked."
ANSWERS = {
    "plain": "Hello! This is a plain answer.",
    "tool": "The command printed: hi",
    "pair": "Both commands ran.",
    "unicode": 'Grüße 🌍 你好 שלום e\u0301 é LS[\u2028] NEL[\u0085] "quoted" back\\slash',
    "long": "A sentence that is repeated to make a long answer. " * 40,
    "spawn": "The helper reported back.",
    "toolbox": "Every tool was tried.",
}
_OUTPUTS = {"function_call_output", "custom_tool_call_output", "local_shell_call_output"}
_SCENE = re.compile(r"\[scene ([a-z_]+)\]")
_COMPACTION = re.compile(
    "CONTEXT CHECKPOINT COMPACTION|exceeded the maximum number of tokens|replaced by your summary"
)
_DEFERRED = "multi_agent_v1"
"""A namespace whose tools a model has to search for (0.133 on); calling them works without."""
_DEFERRED_TOOLS: dict[str, Json] = {
    "spawn_agent": {"namespace": _DEFERRED},
    "wait_agent": {
        "namespace": _DEFERRED,
        "parameters": {"properties": {"targets": {}, "timeout_ms": {}}},
    },
}
_THREAD_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


class ModelServer:
    """The server, as a context manager; ``url`` is the base URL for a Codex model provider."""

    def __init__(self, handler: type[Handler] | None = None) -> None:
        self.stopping = threading.Event()
        self.gate = threading.Event()
        """Answers of the scene ``gate`` stop in the middle until this is set."""
        self.asked: deque[Json] = deque(maxlen=100)
        """The latest requests, oldest first: what Codex sent to its model."""
        self._http = _Http(("127.0.0.1", 0), handler or Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The base URL, e.g. ``http://127.0.0.1:40001/v1``."""
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
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    owner: ModelServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as an interrupted turn does, is no error."""


class Handler(BaseHTTPRequestHandler):
    """One connection; a subclass may answer in other ways."""

    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Quiet."""

    def do_GET(self) -> None:
        self.send_json(404, {"error": {"message": "not found"}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if not self.path.partition("?")[0].endswith("/responses"):
            self.send_json(404, {"error": {"message": "not found"}})
            return
        self.server.owner.asked.append(json.loads(body))
        self.answer(Request(json.loads(body)))

    def answer(self, request: Request) -> None:
        """Answer one request of the model."""
        if request.scene == "refuse":
            self.send_json(400, {"error": {"message": "refused by the script", "code": "refused"}})
            return
        self._stream(request)

    def send_json(self, status: int, value: Json) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def begin_stream(self, *, limits: bool = True) -> None:
        """The head of a stream; Codex makes ``rate_limits`` of the *limits*."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        if limits:
            self.send_header("x-codex-primary-used-percent", "10")
            self.send_header("x-codex-primary-window-minutes", "300")
            self.send_header("x-codex-primary-reset-at", "1800000000")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def send_event(self, event: Json) -> None:
        """One event of the stream."""
        data = json.dumps(event, ensure_ascii=False)
        self.wfile.write(f"event: {event['type']}\ndata: {data}\n\n".encode())
        self.wfile.flush()

    def _stream(self, request: Request) -> None:
        self.begin_stream()
        for event in request.events():
            self.send_event(event)
            if request.scene == "hold" and event["type"] == "response.output_text.delta":
                self.server.owner.stopping.wait(60)
                return
            if request.scene == "gate" and event["type"] == "response.output_text.delta":
                self.server.owner.gate.wait(60)


class Request:
    """One request and the scripted answer to it."""

    def __init__(self, body: Json) -> None:
        self.body = body
        given = body.get("input") or []
        self.input: list[Json] = given if isinstance(given, list) else [_user(given)]
        self.scene = "plain"
        asked_at = -1
        for index, item in enumerate(self.input):
            found = _SCENE.findall(_text(item)) if item.get("role") == "user" else []
            if found:
                self.scene, asked_at = found[-1], index
        self.outputs = [i for i in self.input[asked_at + 1 :] if i.get("type") in _OUTPUTS]
        self.tools = _tools(body.get("tools"))
        if "tool_search" in self.tools:
            self.tools |= _DEFERRED_TOOLS
        if self._is_compaction():
            self.scene = "compaction"
        # Ids must differ between responses of a thread and be equal for a repeated request.
        self.tag = f"{len(self.input)}_{len(json.dumps(self.input))}"

    def _is_compaction(self) -> bool:
        last = self.input[-1] if self.input else {}
        asked = last.get("role") in ("user", "developer") and _COMPACTION.search(_text(last))
        return bool(asked) or any(i.get("type") == "compaction_trigger" for i in self.input)

    def events(self) -> Iterator[Json]:
        """The server-sent events of the answer."""
        response: Json = {
            "id": f"resp_{self.tag}",
            "object": "response",
            "model": self.body.get("model"),
        }
        yield {"type": "response.created", "response": {**response, "status": "in_progress"}}
        if self.scene == "fail":
            error = {"code": "server_error", "message": "failed by the script"}
            yield {
                "type": "response.failed",
                "response": {**response, "status": "failed", "error": error},
            }
            return
        for index, item in enumerate(_SCENES.get(self.scene, _answer)(self)):
            yield from item_events(index, item)
        usage = {
            "input_tokens": 1000 + 10 * len(self.input),
            "input_tokens_details": {"cached_tokens": 100},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 5},
            "total_tokens": 1020 + 10 * len(self.input),
        }
        done: Json = {**response, "status": "completed", "output": [], "usage": usage}
        yield {"type": "response.completed", "response": done}

    def message(self, text: str) -> Json:
        """An assistant message."""
        content = [{"type": "output_text", "text": text, "annotations": []}]
        return {
            "type": "message",
            "role": "assistant",
            "id": f"msg_{self.tag}",
            "status": "completed",
            "content": content,
        }

    def reasoning(self, text: str) -> Json:
        """A reasoning item with a summary."""
        summary = [{"type": "summary_text", "text": text}]
        return {
            "type": "reasoning",
            "id": f"rs_{self.tag}",
            "summary": summary,
            "encrypted_content": "c2NyaXB0ZWQ=",
        }

    def call(self, name: str, arguments: Json, number: int = 0) -> Json:
        """A function call; *number* tells calls of one response apart."""
        call = {
            "type": "function_call",
            "id": f"fc_{self.tag}_{number}",
            "call_id": f"call_{self.tag}_{number}",
            "name": name,
            "arguments": json.dumps(arguments),
            "status": "completed",
        }
        namespace = self.tools.get(name, {}).get("namespace")
        return {**call, "namespace": namespace} if namespace else call

    def shell(self, command: str, number: int = 0) -> Json:
        """A call of whatever shell tool this release offers."""
        if "exec_command" in self.tools:
            return self.call("exec_command", {"cmd": command}, number)
        if "shell_command" in self.tools:
            return self.call("shell_command", {"command": command}, number)
        return self.call("shell", {"command": ["bash", "-lc", command]}, number)

    def patch(self, text: str) -> Json:
        """A change of files, by whatever means this release offers."""
        if self.tools.get("apply_patch", {}).get("type") == "custom":
            return {
                "type": "custom_tool_call",
                "id": f"ctc_{self.tag}",
                "call_id": f"call_{self.tag}",
                "name": "apply_patch",
                "input": text,
                "status": "completed",
            }
        if "apply_patch" in self.tools:
            return self.call("apply_patch", {"input": text})
        return self.shell(f"apply_patch <<'EOF'\n{text}\nEOF\n")


def _answer(request: Request) -> list[Json]:
    return [request.message(ANSWERS.get(request.scene, ANSWERS["plain"]))]


def _tool(request: Request) -> list[Json]:
    if request.outputs:
        return _answer(request)
    return [request.reasoning("**Running a command**"), request.shell("echo hi")]


def _pair(request: Request) -> list[Json]:
    if request.outputs:
        return _answer(request)
    return [request.shell("echo one"), request.shell("echo two; exit 3", 1)]


def _spawn(request: Request) -> list[Json]:
    """Start a sub-agent, wait for it, report."""
    if not request.outputs and "spawn_agent" in request.tools:
        fields = request.tools["spawn_agent"].get("parameters", {}).get("properties", {})
        arguments: Json = {"message": "You are the helper. Say hello. [scene plain]"}
        if "task_name" in fields:
            arguments["task_name"] = "helper"
        return [request.call("spawn_agent", arguments)]
    waiting = next((name for name in ("wait_agent", "wait") if name in request.tools), None)
    if len(request.outputs) == 1 and waiting:
        fields = request.tools[waiting].get("parameters", {}).get("properties", {})
        child = _THREAD_ID.search(str(request.outputs[0].get("output")))
        arguments = {"timeout_ms": 10_000} if "timeout_ms" in fields else {}
        arguments |= {key: [child[0]] for key in ("targets", "ids") if child and key in fields}
        return [request.call(waiting, arguments)]
    return _answer(request)


def _toolbox(request: Request) -> list[Json]:
    """One tool after the other; each step has as many outputs behind it as calls were made."""
    match len(request.outputs):
        case 0:
            return [request.patch(_patch("*** Add File: made.txt", "+one", "+two"))]
        case 1:
            change = ("*** Update File: made.txt", "*** Move to: moved.txt", "@@", "-one", "+1")
            return [request.reasoning("**Changing**"), request.patch(_patch(*change))]
        case 2:
            return [request.patch(_patch("*** Delete File: moved.txt"))]
        case 3:
            return [request.patch(_patch("*** Delete File: never-there.txt"))]
        case 4:
            steps = [{"step": "Look", "status": "completed"}, {"step": "Do", "status": "pending"}]
            return [request.call("update_plan", {"explanation": "Go", "plan": steps})]
        case 5:
            return [request.call("view_image", {"path": "dot.png"})]
        case 6:
            commands = ("cat made.txt", "ls", "sleep 0.1; exit 4")
            return [request.shell(command, number) for number, command in enumerate(commands)]
        case 9:
            return [request.call("no_such_tool", {})]
    action = {"type": "search", "query": "rollouts", "queries": ["rollouts"]}
    return [
        {
            "type": "web_search_call",
            "id": f"ws_{request.tag}",
            "status": "completed",
            "action": action,
        },
        *_answer(request),
    ]


def _patch(*lines: str) -> str:
    return "\n".join(("*** Begin Patch", *lines, "*** End Patch"))


_SCENES: dict[str, Callable[[Request], list[Json]]] = {
    "tool": _tool,
    "pair": _pair,
    "spawn": _spawn,
    "toolbox": _toolbox,
    "compaction": lambda request: [request.message(SUMMARY)],
}


def item_events(index: int, item: Json) -> Iterator[Json]:
    """The events of one complete output item."""
    place = {"output_index": index}
    empty: dict[str, Json] = {"message": {"content": []}, "function_call": {"arguments": ""}}
    started = {**item, **empty.get(item["type"], {"summary": []}), "status": "in_progress"}
    yield {"type": "response.output_item.added", **place, "item": started}
    if item["type"] == "message":
        text = item["content"][0]["text"]
        for start in range(0, len(text), 40):
            yield {
                "type": "response.output_text.delta",
                **place,
                "item_id": item["id"],
                "content_index": 0,
                "delta": text[start : start + 40],
            }
    yield {"type": "response.output_item.done", **place, "item": item}


def _tools(given: Any) -> dict[str, Json]:
    """The offered tools by name; those of a namespace know it."""
    tools: dict[str, Json] = {}
    for tool in given or []:
        name = tool.get("name") or tool.get("type")
        tools[name] = tool
        for inner in tool.get("tools") or []:
            tools.setdefault(inner.get("name"), {**inner, "namespace": name})
    return tools


def _user(text: str) -> Json:
    return {"type": "message", "role": "user", "content": text}


def _text(item: Json) -> str:
    content = item.get("content")
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
