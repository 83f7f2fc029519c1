"""Drives a real Codex: a JSON-RPC client for ``codex app-server``, and ``codex exec``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

Json = dict[str, Any]

TIMEOUT = 30.0
"""Seconds to wait for one answer or one turn."""


class RpcError(Exception):
    """The server answered with an error."""

    def __init__(self, method: str, error: Json) -> None:
        super().__init__(f"{method}: {error.get('message')} ({error.get('code')})")
        self.message: str = error.get("message", "")
        self.code: int = error.get("code", 0)

    @property
    def unknown_method(self) -> bool:
        """Whether this release does not have the method."""
        return self.code == -32601 or "unknown variant" in self.message


def write_config(home: Path, model_url: str, *, model: str = "gpt-5.5", extra: str = "") -> None:
    """Make *home* a CODEX_HOME that talks to the scripted model and asks nobody anything."""
    home.mkdir(parents=True, exist_ok=True)
    home.joinpath("config.toml").write_text(
        f"""model = "{model}"
model_provider = "scripted"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false

[model_providers.scripted]
name = "Scripted"
base_url = "{model_url}"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0

[analytics]
enabled = false
{extra}"""
    )


def environment(home: Path) -> dict[str, str]:
    """The environment of a Codex process: nothing of the developer's own settings."""
    env = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
    return {**env, "CODEX_HOME": str(home), "HOME": str(home.parent), "RUST_LOG": "error"}


def run_exec(binary: Path, home: Path, cwd: Path, *arguments: str) -> str:
    """One ``codex exec``; its output. Raises if it fails or takes longer than a minute."""
    command = [str(binary), "exec", "--skip-git-repo-check", *arguments]
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=60)
    finally:
        _kill_group(process)
    if process.returncode:
        raise RuntimeError(f"codex exec ended with {process.returncode}: {errors[-2000:]}")
    return output


def _kill_group(process: subprocess.Popen[Any]) -> None:
    """End a process and everything it started (it leads its own group)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class AppServer:
    """One ``codex app-server`` process, as a context manager; leaving ends it in every case."""

    def __init__(self, binary: Path, home: Path, cwd: Path, *, patience: float = TIMEOUT) -> None:
        self._patience = patience
        self.home = home
        self.user_agent = ""
        self._next_id = 0
        self._news = threading.Condition()
        self._answers: dict[int, Json] = {}
        self._notifications: list[Json] = []
        self._ended = False
        self._errors = home.parent.joinpath("app-server-stderr.log").open("ab")
        self._process = subprocess.Popen(
            [str(binary), "app-server"],
            cwd=cwd,
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)

    @property
    def pid(self) -> int:
        """The process, as others see it."""
        return self._process.pid

    def __enter__(self) -> Self:
        self._reader.start()
        try:
            client = {"name": "threadstore-tests", "title": "threadstore tests", "version": "1.0.0"}
            answer = self.call(
                "initialize", clientInfo=client, capabilities={"experimentalApi": True}
            )
            self.user_agent = str(answer.get("userAgent"))
            self._send({"method": "initialized"})
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End of input, which Codex takes as a request to flush and exit; then by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(TIMEOUT)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            pass
        finally:
            _kill_group(self._process)
            self._reader.join()
            self._process.stdout.close()
            self._errors.close()

    def kill(self) -> None:
        """End it at once, as a crash would; then :meth:`close` only tidies up."""
        _kill_group(self._process)

    def call(self, method: str, **params: Any) -> Json:
        """The result of a request; :class:`RpcError` if it is an error."""
        self._next_id += 1
        number = self._next_id
        self._send({"id": number, "method": method, "params": params})
        self._wait(lambda: number in self._answers, f"an answer to {method}")
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RpcError(method, answer["error"])
        result = answer["result"]
        return result if isinstance(result, dict) else {}

    def start_thread(self, cwd: Path, **params: Any) -> str:
        """The id of a new thread, with base instructions of one sentence."""
        params.setdefault("baseInstructions", "You are a scripted model.")
        return str(self.call("thread/start", cwd=str(cwd), **params)["thread"]["id"])

    def run_turn(self, thread_id: str, text: str | list[Json], **params: Any) -> str:
        """Start a turn and wait for its end; its id."""
        seen = self.seen()
        turn_id = self.start_turn(thread_id, text, **params)
        self.wait_turn(thread_id, seen)
        return turn_id

    def start_turn(self, thread_id: str, text: str | list[Json], **params: Any) -> str:
        """Start a turn; its id."""
        items = [{"type": "text", "text": text}] if isinstance(text, str) else text
        answer = self.call("turn/start", threadId=thread_id, input=items, **params)
        return str(answer["turn"]["id"])

    def turn_status(self, thread_id: str, text: str) -> str:
        """Run a turn; how it ended, as ``turn/completed`` says (0.77 on)."""
        seen = self.seen()
        turn_id = self.run_turn(thread_id, text)
        turns = [n["params"].get("turn") or {} for n in self._notifications[seen:]]
        return str(next((t["status"] for t in turns[::-1] if t.get("id") == turn_id), "unknown"))

    def seen(self) -> int:
        """How many notifications have come so far, for the ``wait_…`` methods."""
        return len(self._notifications)

    def wait_turn(self, thread_id: str, seen: int) -> None:
        """Wait until a turn of the thread has ended, however it ended."""

        # 0.57 and 0.58 never send turn/completed; later ones send the old events too early.
        old = "codex/event/task_complete", "codex/event/turn_aborted"
        methods = old if re.search(r"/0\.5[78]\.", self.user_agent) else ("turn/completed",)

        def ended(note: Json) -> bool:
            params = note.get("params") or {}
            # The first releases with turns do not say whose turn it is.
            owner = params.get("threadId") or params.get("conversationId") or thread_id
            return note["method"] in methods and owner == thread_id

        self.wait_notification(ended, seen)

    def wait_notification(self, wanted: Callable[[Json], bool], seen: int) -> None:
        """Wait for a notification after the first *seen* ones."""
        self._wait(lambda: any(wanted(n) for n in self._notifications[seen:]), "a notification")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Poll until something is so that Codex does not announce."""
        deadline = time.monotonic() + self._patience
        while not ready():
            if time.monotonic() > deadline:
                raise RuntimeError("codex took too long")
            time.sleep(0.05)

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self._patience
        with self._news:
            while not ready():
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    raise RuntimeError(
                        f"codex {'ended' if self._ended else 'took too long'}: no {what}"
                    )
                self._news.wait(left)

    def _send(self, message: Json) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            with self._news:
                if "method" not in message:
                    self._answers[message["id"]] = message
                elif "id" in message:
                    self._refuse(message)
                else:
                    self._notifications.append(message)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _refuse(self, request: Json) -> None:
        """Codex asks for approvals and the like; nothing here should need one."""
        error = {"code": -32601, "message": "not supported by this client"}
        self._send({"id": request["id"], "error": error})
