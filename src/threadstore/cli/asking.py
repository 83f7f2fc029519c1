"""Questions of a tool to the person at the terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Final

from threadstore.cli.console import Console
from threadstore.cli.text import one_line

__all__ = ["ask"]

Json = dict[str, Any]
_NOBODY: Final = "nobody is there to answer; go on without, and say what you assumed"


async def ask(console: Console, questions: list[Json]) -> Json:
    """The answers, in the form of Codex's ``request_user_input``; an error where nobody sits."""
    if not console.interactive:
        return {"answers": {}, "error": _NOBODY}
    answers: Json = {}
    for question in questions:
        line = await _ask(console, question)
        if line is None:
            return {"answers": answers, "error": _NOBODY}
        answers[question["id"]] = {"answers": [line] if line else []}
    return {"answers": answers}


async def _ask(console: Console, question: Json) -> str | None:
    """The label that was chosen, or what was answered in other words; ``None``: end of input."""
    labels = [str(option["label"]) for option in question["options"]]
    console.remark(f"? {one_line(question['header'])}: {one_line(question['question'])}")
    for number, option in enumerate(question["options"], 1):
        meaning = one_line(option["description"])
        console.remark(f"  {number}. {one_line(option['label'])}{meaning and f': {meaning}'}")
    console.prompt("  a number, or your own words: ")
    data = await _read_line()
    text = data.decode("utf-8", "replace").strip()
    if text.isdecimal() and 1 <= int(text) <= len(labels):
        return labels[int(text) - 1]
    return text if data else None


async def _read_line() -> bytes:
    """A line of the terminal, which gives one at a time. No thread waits for it: the end of the
    program would have to wait for that."""
    loop = asyncio.get_running_loop()
    terminal = sys.stdin.fileno()
    ready = asyncio.Event()
    loop.add_reader(terminal, ready.set)
    try:
        await ready.wait()
        return os.read(terminal, 65536)
    finally:
        loop.remove_reader(terminal)
