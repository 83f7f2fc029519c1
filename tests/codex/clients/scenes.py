"""The model of the clients: what it says depends on ``[scene NAME]`` in what the user says."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from typing import Any, Final

from threadstore.metadata import TokenUsage
from threadstore.testing.model_server import Answer, Reply, ScriptedModelServer
from threadstore.testing.replies import Call, Failed, Pause, Say, Think, rate_limits

__all__ = ["PLAIN", "SUMMARY", "TITLE", "SceneModel"]

Json = dict[str, Any]
PLAIN: Final = "Hello! This is a plain answer."
SUMMARY: Final = "Summary: the user said hello and was answered."
_SCENE: Final = re.compile(r"\[scene (\w+)\]")
_LIMITS: Final = rate_limits(12.0)
_USAGE: Final = TokenUsage(
    input_tokens=1000,
    cached_input_tokens=100,
    output_tokens=20,
    reasoning_output_tokens=5,
    total_tokens=1020,
)
TITLE: Final = "Say hello"
"""What the terminal client's model calls every thread."""


class SceneModel(ScriptedModelServer):
    """Scenes: plain think slow steered (both wait at a gate) tool fail; others are plain."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        """Each scene that waits has one, by the text that was said: ``Slow one [scene slow]``."""

    def _answer(self, body: Json) -> Answer:
        text, outputs = _last_said(body)
        if text.startswith("Generate a concise, single-line task title"):
            return Reply(Say(json.dumps({"title": TITLE})), usage=_USAGE, rate_limits=_LIMITS)
        found = _SCENE.findall(text)
        match found[-1] if found else "plain":
            case "think":
                said: list[Any] = [Think("**Thinking**"), Say("Thought through.")]
            case "slow":
                gate = Pause(self.gates[text])
                said = [Say("This answer takes its time."), gate, Say("At last.")]
            case "steered":
                said = [Say("First this."), Pause(self.gates[text])]
            case "tool" if not outputs:
                said = [Call("greeting", {"name": "Ada"})]
            case "tool":
                said = [Say(f"The tool said: {outputs[-1]}")]
            case "fail":
                said = [Failed("insufficient_quota", "You exceeded your current quota")]
            case _:
                said = [Say(SUMMARY if _is_compaction(text) else PLAIN)]
        return Reply(*said, usage=_USAGE, rate_limits=_LIMITS)


def _is_compaction(text: str) -> bool:
    return "CONTEXT CHECKPOINT" in text or "handoff summary" in text


def _last_said(body: Json) -> tuple[str, list[str]]:
    """The last message of the user, and the outputs of tools since then."""
    text, outputs = "", list[str]()
    for item in body.get("input", ()):
        if item.get("type") == "message" and item.get("role") == "user":
            text = "".join(part.get("text", "") for part in item["content"])
            outputs = []
        elif str(item.get("type")).endswith("_output"):
            output = item.get("output")
            outputs.append(output if isinstance(output, str) else json.dumps(output))
    return text, outputs
