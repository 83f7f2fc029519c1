"""The example conversation of ``threadstore tour``."""

from __future__ import annotations

import json
from typing import Any, Final

from threadstore.clock import SystemClock
from threadstore.history.items import RolloutItem
from threadstore.ids import new_thread_id
from threadstore.live.thread import LiveThread
from threadstore.metadata import NewThread, ThreadMetadataPatch
from threadstore.store import ThreadStore

__all__ = ["record_example"]

_TURNS: Final = (
    (
        "How do I keep an agent's conversation when the process ends?",
        None,
        (
            "Append every item to a thread. What append_items has returned for is on disk; "
            "the rest of the thread is metadata about it."
        ),
    ),
    (
        "Show me that it is really there.",
        ("ls sessions", "2026\n"),
        (
            "The folder holds one rollout file per thread, one JSON line per item. "
            "Codex reads the same files."
        ),
    ),
)
"""What the user says, the command that is run and its output, what the agent answers."""


async def record_example(store: ThreadStore, cwd: str) -> None:
    """Write the example through a live thread, as an agent would."""
    async with await LiveThread.create(store, NewThread(cwd=cwd, source="cli")) as thread:
        for question, command, answer in _TURNS:
            await thread.append_items(_turn(cwd, question, command, answer))
        await thread.update_metadata(ThreadMetadataPatch(name="An example conversation"))


def _turn(
    cwd: str, question: str, command: tuple[str, str] | None, answer: str
) -> list[RolloutItem]:
    """The lines of one turn in the order in which Codex writes them."""
    turn_id = new_thread_id()  # turns have the same kind of id
    now = int(SystemClock().now().timestamp())
    return [
        _event("task_started", turn_id=turn_id, started_at=now, model_context_window=None),
        RolloutItem("turn_context", _context(turn_id, cwd)),
        _message("user", "input_text", question),
        _event("user_message", message=question, images=[], local_images=[], text_elements=[]),
        *(_command(*command) if command else ()),
        _event("agent_message", message=answer, phase=None, memory_citation=None),
        _message("assistant", "output_text", answer),
        _event("task_complete", turn_id=turn_id, last_agent_message=answer, completed_at=now),
    ]


def _context(turn_id: str, cwd: str) -> dict[str, Any]:
    return {
        "turn_id": turn_id,
        "cwd": cwd,
        "approval_policy": "never",
        "sandbox_policy": {"type": "read-only"},
        "model": "gpt-5.1",
        "summary": "auto",
    }


def _command(command: str, output: str) -> list[RolloutItem]:
    call_id = "call_example"
    call = {
        "type": "function_call",
        "name": "exec_command",
        "arguments": json.dumps({"cmd": command}),
        "call_id": call_id,
    }
    result = {"type": "function_call_output", "call_id": call_id, "output": output}
    return [RolloutItem("response_item", call), RolloutItem("response_item", result)]


def _event(kind: str, **facts: Any) -> RolloutItem:
    return RolloutItem("event_msg", {"type": kind, **facts})


def _message(role: str, kind: str, text: str) -> RolloutItem:
    content = [{"type": kind, "text": text}]
    return RolloutItem("response_item", {"type": "message", "role": role, "content": content})
