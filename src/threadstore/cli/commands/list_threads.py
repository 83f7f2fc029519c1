"""``threadstore list``: threads, newest use first."""

from __future__ import annotations

import argparse
import os
from typing import Final

from threadstore.cli.context import Context
from threadstore.cli.resolve import find_thread
from threadstore.cli.threads_view import print_threads
from threadstore.errors import InvalidRequest
from threadstore.queries import SortKey, ThreadPage, ThreadQuery
from threadstore.store import ThreadStore

__all__ = ["configure", "default_query", "run"]

_SUBAGENTS: Final = ("subagent",)
SOURCES: Final = (
    "cli", "vscode", "exec", "mcp", "custom", "internal", "unknown", "subagent", "subagent_review",
    "subagent_compact", "subagent_memory_consolidation", "subagent_thread_spawn", "subagent_other",
)  # fmt: skip
"""The words of ``--source``, beside ``custom:NAME``."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``list``."""
    parser.description = """\
List threads that have a name or a preview, from every source but sub-agents. Repeated
filters of one kind add up, different kinds narrow."""
    parser.epilog = """\
sources: cli vscode exec mcp custom internal unknown, subagent for every kind of sub-agent,
custom:NAME for one custom source; with --source or --parent sub-agents are not left out

in a pipe each thread is one line of fields separated by tabs:
id, name or preview, updated (or created), working directory, source, git branch

examples:
  threadstore list --cwd . --limit 5
  threadstore list --search parser --source cli --source exec
  threadstore list --archived --sort updated --asc
  threadstore list --json | jq -r '.data[].id'
"""
    add = parser.add_argument
    add("--archived", action="store_true", help="archived threads instead of active ones")
    add("--all", action="store_true", help="sub-agents and empty threads too (never archived ones)")
    add("--source", action="append", metavar="KIND", help="only threads of this source")
    add("--cwd", action="append", metavar="DIR", help="only threads of this working directory")
    add("--provider", action="append", metavar="NAME", help="only threads of this model provider")
    add("--model", action="append", metavar="NAME", help="only threads that last used this model")
    add("--git-origin", action="append", metavar="URL", help="only threads of this git remote")
    add("--parent", metavar="ID", help="only sub-agents that this thread spawned")
    add("--search", metavar="TEXT", help="only threads with this in name, title or preview")
    add("--sort", choices=[key.value for key in SortKey], default="recency", help="default recency")
    add("--asc", action="store_true", help="oldest first")
    add("--limit", type=int, default=25, metavar="N", help="rows of a page (default 25)")
    add("--cursor", metavar="C", help="continue where an earlier page ended")
    add("--json", action="store_true", help="print Codex protocol JSON")


async def run(context: Context, args: argparse.Namespace) -> int:
    """List a page of threads."""
    query = _query(args)
    async with context.open_store() as store:
        with context.console.working("reading threads"):
            page = await store.list_threads(await _with_parent(store, query, args.parent))
    _print_page(context, args, page)
    return 0


def default_query(limit: int = 25) -> ThreadQuery:
    """What ``list`` shows without options."""
    return ThreadQuery(limit=limit, only_displayable=True, exclude_sources=_SUBAGENTS)


def _query(args: argparse.Namespace) -> ThreadQuery:
    named = bool(args.all or args.source or args.parent)
    return ThreadQuery(
        limit=args.limit,
        cursor=args.cursor,
        sort_key=SortKey(args.sort),
        descending=not args.asc,
        archived=args.archived,
        cwds=_folders(args.cwd),
        model_providers=tuple(args.provider) if args.provider else None,
        models=tuple(args.model) if args.model else None,
        git_origins=tuple(args.git_origin) if args.git_origin else None,
        sources=tuple(_source(word) for word in args.source) if args.source else None,
        exclude_sources=() if named else _SUBAGENTS,
        search_term=args.search,
        only_displayable=not args.all,
    )


def _folders(folders: list[str] | None) -> tuple[str, ...] | None:
    return None if folders is None else tuple(os.path.abspath(folder) for folder in folders)


def _source(word: str) -> str:
    if word in SOURCES or word.startswith("custom:"):
        return word
    known = " ".join((*SOURCES, "custom:NAME"))
    raise InvalidRequest(f"unknown source: {word!r}", hint=f"one of: {known}")


async def _with_parent(store: ThreadStore, query: ThreadQuery, parent: str | None) -> ThreadQuery:
    if parent is None:
        return query
    import msgspec

    thread = await find_thread(store, parent)
    return msgspec.structs.replace(query, parent_id=thread.id)


def _print_page(context: Context, args: argparse.Namespace, page: ThreadPage) -> None:
    console = context.console
    if args.json:
        from threadstore.protocol.codex_thread import protocol_thread

        data = [protocol_thread(thread) for thread in page.items]
        console.json({"data": data, "nextCursor": page.next_cursor})
        return
    print_threads(console, page.items, created=args.sort == "created")
    if not page.items:
        console.remark(f"no such threads in {context.store_name}")
    if page.next_cursor is not None:
        console.remark(f"more: the same command with --cursor {page.next_cursor}")
