"""Random histories of turns, tool calls, compactions and rollbacks, for Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from threadstore.history.items import RolloutItem
from threadstore.metadata import TokenUsage
from threadstore.testing import items as make

Json = dict[str, Any]


def message(role: str, text: str) -> Json:
    """A message in the form in which it goes to the model."""
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def reasoning(text: str = "thinking") -> RolloutItem:
    """Reasoning as Codex 0.131 keeps it."""
    summary = [{"type": "summary_text", "text": text}]
    return make.response("reasoning", summary=summary, content=None, encrypted_content="eA==")


def compaction(*left: Json) -> RolloutItem:
    """A compaction that says what is left."""
    return RolloutItem("compacted", {"message": "", "replacement_history": list(left)})


class _Script:
    """Turns words into lines; every text and id is different."""

    def __init__(self) -> None:
        self.items: list[RolloutItem] = []
        self._count = 0

    def text(self, word: str) -> str:
        self._count += 1
        return f"{word} {self._count}"

    def turn(self, steps: list[str], end: str) -> None:
        turn_id = self.text("turn")
        self.items += [make.task_started(turn_id), make.turn_context(turn_id=turn_id)]
        for step in ["asked", *steps]:
            self.step(step)
        if end == "completed":
            self.items.append(make.task_complete(turn_id))
        elif end == "interrupted":
            self.items.append(make.turn_aborted(turn_id))

    def step(self, step: str) -> None:
        text = self.text(step)
        lines: dict[str, list[RolloutItem]] = {
            "asked": [make.user_response(text), make.user_message(text)],
            "said": [make.agent_message(text), make.assistant_response(text)],
            "thought": [reasoning(text)],
            "called": [make.function_call(text, "f")],
            "answered": [make.function_call(text, "f"), make.function_call_output(text, text)],
            "lost": [make.function_call_output(text, text)],
            "injected": [make.user_response(text)],
            "counted": [make.token_count(TokenUsage(input_tokens=self._count, output_tokens=1))],
            "used": [RolloutItem("token_usage_record", {"usage": {"input_tokens": self._count}})],
            "limited": [make.event("token_count", info=None, rate_limits={"primary": text})],
            "compacted": [compaction(message("user", text)), RolloutItem("world_state", {})],
            "summarised": [make.compacted(text)],
            "header": [RolloutItem("session_meta", {"id": text, "cwd": "/", "cli_version": "1"})],
            "unknown": [make.unknown_item(), make.response("ghost_snapshot")],
            "settled": [make.turn_context(turn_id=text, model=text)],
        }
        self.items += lines[step]


_STEPS = st.lists(
    st.sampled_from(
        [
            *("asked", "said", "thought", "called", "answered", "lost", "injected", "counted"),
            *("used", "limited", "compacted", "summarised", "header", "unknown", "settled"),
        ]
    ),
    max_size=6,
)
_ENDS = st.sampled_from(["completed", "completed", "interrupted", "killed"])
_PARTS = st.one_of(st.tuples(_STEPS, _ENDS), st.tuples(_STEPS, _ENDS), _STEPS, st.integers(0, 4))


@st.composite
def histories(draw: st.DrawFn) -> list[RolloutItem]:
    """Histories of explicit turns, of lines outside of turns, and of rollbacks."""
    script = _Script()
    script.step("header")
    for part in draw(st.lists(_PARTS, max_size=8)):
        if isinstance(part, int):
            script.items.append(make.thread_rolled_back(part))
        elif isinstance(part, tuple):
            script.turn(*part)
        else:
            for step in part:
                script.step(step)
    return script.items
