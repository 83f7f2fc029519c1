"""Commands of the user's own, ``!ls`` in a terminal client: none is run here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from threadstore.appserver.narration import IDLE, active_status, new_turn
from threadstore.appserver.params import ThreadParams
from threadstore.ids import new_thread_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadstore.appserver.server import AppServer
    from threadstore.jsonrpc import Call

__all__ = ["ShellParams", "refuse_command"]

Json = dict[str, Any]

NO_SHELL: Final = "This server runs no shell commands.\n"
CANNOT_RUN: Final = 126
"""What a shell says of a command that it cannot run."""


class ShellParams(ThreadParams, kw_only=True):
    """A command to run as the user."""

    command: str


async def refuse_command(server: AppServer, call: Call, params: ShellParams) -> None:
    """Tell whoever asks that the command failed.

    An error would end the terminal client, and without the end of a turn it would wait for ever
    (0.169). Nothing of it is stored, and nobody else hears of it.
    """
    thread = await server.writer(params.thread_id)
    cwd = thread.settings.cwd or (await thread.read()).cwd
    peer = server.peer(call)
    await call.reply({})
    for method, told in _failure(thread.turn_id, params.command, cwd):
        peer.tell(method, {"threadId": thread.id, **told})


def _failure(running: str | None, command: str, cwd: str) -> Iterator[tuple[str, Json]]:
    now = time.time_ns() // 1_000_000
    turn = new_turn(new_thread_id(), started_at=now // 1000)
    place = {"turnId": running or turn["id"]}
    item = {
        "type": "commandExecution",
        "id": new_thread_id(),
        "pluginId": None,
        "scriptPath": None,
        "command": command,
        "cwd": cwd,
        "processId": None,
        "source": "userShell",
        "status": "inProgress",
        "commandActions": [{"type": "unknown", "command": command}],
        "aggregatedOutput": None,
        "exitCode": None,
        "durationMs": None,
        "startedAtMs": now,
        "completedAtMs": None,
    }
    failed = {
        "status": "failed",
        "aggregatedOutput": NO_SHELL,
        "exitCode": CANNOT_RUN,
        "durationMs": 0,
        "completedAtMs": now,
    }
    if running is None:
        yield "thread/status/changed", {"status": active_status()}
        yield "turn/started", {"turn": turn}
    yield "item/started", {**place, "item": item, "startedAtMs": now}
    ended = {**place, "item": {**item, **failed}, "contentTokenCount": None}
    yield "item/completed", {**ended, "completedAtMs": now}
    if running is None:
        yield "thread/status/changed", {"status": dict(IDLE)}
        done = {"status": "completed", "completedAt": now // 1000, "durationMs": 0}
        yield "turn/completed", {"turn": {**turn, **done}}
