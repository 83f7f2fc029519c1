"""A conversation as Markdown."""

from __future__ import annotations

from threadstore.cli.conversation import entries, turn_facts
from threadstore.cli.text import clean, one_line, timestamp
from threadstore.history.turns import StoredTurn
from threadstore.metadata import StoredThread

__all__ = ["head", "section"]

_TITLES = {"user": "User", "agent": "Agent"}


def head(thread: StoredThread) -> str:
    """The title and the facts that place the conversation."""
    facts = [
        ("Thread", thread.id),
        ("Started", timestamp(thread.created_at)),
        ("Directory", thread.cwd),
        ("Branch", thread.git.branch if thread.git else None),
        ("Model", thread.model),
    ]
    lines = [f"- {name}: {one_line(value)}" for name, value in facts if value]
    title = one_line(thread.display_name) or "Untitled thread"
    return f"# {title}\n\n" + "\n".join(lines) + "\n"


def section(turn: StoredTurn) -> str:
    """One turn: a heading for every change of speaker, tools and remarks as quotes."""
    lines: list[str] = []
    speaker = ""
    for entry in entries(turn):
        title = _TITLES.get(entry.role, "Agent")
        if title != speaker or entry.role == "user":
            lines += ["", f"## {title}", ""]
            speaker = title
        elif lines and lines[-1]:
            lines.append("")
        lines += _block(entry.role, clean(entry.text).strip("\n"))
    if turn.status != "completed":
        lines += ["", f"*Turn {one_line(turn_facts(turn))}.*"]
    return "\n".join(lines) + "\n" if lines else ""


def _block(role: str, text: str) -> list[str]:
    if role == "tool":
        fence = "``" if "`" in text else "`"
        space = " " if "`" in text else ""
        return [f"> {fence}{space}{one_line(text)}{space}{fence}"]
    if role in ("thought", "note"):
        return [f"> {line}".rstrip() for line in text.split("\n")]
    return text.split("\n")
