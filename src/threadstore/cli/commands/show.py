"""``threadstore show``: everything known about one thread."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.text import clean, one_line, pad, timestamp
from threadstore.metadata import StoredThread, TokenUsage

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``show``."""
    parser.description = "Show everything known about a thread, archived ones included."
    parser.epilog = """\
in a pipe each fact is one line: its name, a tab, its value

examples:
  threadstore show 01a201e8
  threadstore show "my refactoring" --json | jq .gitInfo.branch
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    parser.add_argument("--json", action="store_true", help="print Codex protocol JSON")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Show one thread."""
    async with context.open_store() as store:
        thread = await find_thread(store, args.id)
    if args.json:
        from threadstore.protocol.codex_thread import protocol_thread

        context.console.json(protocol_thread(thread))
        return 0
    for label, value in facts(thread):
        if context.console.terminal:
            context.console.line(f"{pad(label, 16)} {value}")
        else:
            context.console.record(label, value)
    return 0


def facts(thread: StoredThread) -> Iterator[tuple[str, str]]:
    """What is known, in reading order; facts that are missing are left out."""
    for label, value in _all_facts(thread):
        text = one_line(clean(_words(value)))
        if text:
            yield label, text


def _all_facts(thread: StoredThread) -> Iterator[tuple[str, Any]]:
    yield "id", thread.id
    yield "name", thread.name
    yield "preview", thread.preview
    yield "title", thread.title if thread.title != thread.preview else None
    yield "archived", thread.archived_at
    yield "created", thread.created_at
    yield "updated", thread.updated_at
    yield "last used", thread.recency_at
    yield "directory", thread.cwd
    git = thread.git
    yield "git branch", git and git.branch
    yield "git commit", git and git.sha
    yield "git origin", git and git.origin_url
    yield "model", thread.model
    yield "effort", thread.reasoning_effort
    yield "provider", thread.model_provider
    yield "approval", thread.approval_mode
    yield "sandbox", thread.sandbox_policy
    yield "permissions", thread.permission_profile
    yield "memory", thread.memory_mode
    usage = thread.token_usage
    yield (
        "tokens",
        usage and f"{usage.total_tokens:,}, {usage.output_tokens:,} of them output",
    )
    counted = thread.usage
    if counted is not None and (counted.inherited or len(counted.own) > 1):
        yield "own tokens", _by_model(counted.own)
        yield "inherited tokens", _by_model(counted.inherited)
    yield "source", thread.source
    yield "started by", thread.thread_source
    yield "parent", thread.parent_thread_id
    yield "forked from", thread.forked_from_id
    yield "session", thread.session_id if thread.session_id != thread.id else None
    yield "agent", thread.agent_nickname
    yield "agent role", thread.agent_role
    yield "agent path", thread.agent_path
    yield "section", thread.section and thread.section.name
    yield "project", thread.project_id
    yield "history", thread.history_mode
    yield "originator", thread.originator
    yield "version", thread.cli_version
    yield "file", thread.rollout_path


def _by_model(usage: dict[str, TokenUsage]) -> str:
    return "; ".join(f"{model}: {part.total_tokens:,}" for model, part in usage.items())


def _words(value: Any) -> str:
    import datetime as dt
    import json

    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return timestamp(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
