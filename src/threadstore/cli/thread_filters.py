"""The options that say which threads a list or a search is about."""

from __future__ import annotations

import argparse
import os
from typing import Final

from threadstore.cli.resolve import find_thread
from threadstore.errors import InvalidRequest
from threadstore.queries import SortKey, ThreadQuery
from threadstore.store import ThreadStore

__all__ = ["SOURCES", "SOURCES_HELP", "add_filters", "filtered", "with_parent"]

_SUBAGENTS: Final = ("subagent",)
SOURCES: Final = (
    "cli", "vscode", "exec", "mcp", "custom", "internal", "unknown", "subagent", "subagent_review",
    "subagent_compact", "subagent_memory_consolidation", "subagent_thread_spawn", "subagent_other",
)  # fmt: skip
"""The words of ``--source``, beside ``custom:NAME``."""
SOURCES_HELP: Final = """\
sources: cli vscode exec mcp custom internal unknown, subagent for every kind of sub-agent,
custom:NAME for one custom source; with --source or --parent sub-agents are not left out"""


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options; repeated ones of one kind add up, different kinds narrow."""
    add = parser.add_argument
    add("--all", action="store_true", help="sub-agents and empty threads too (never archived ones)")
    add("--source", action="append", metavar="KIND", help="only threads of this source")
    add("--cwd", action="append", metavar="DIR", help="only threads of this working directory")
    add("--provider", action="append", metavar="NAME", help="only threads of this model provider")
    add("--model", action="append", metavar="NAME", help="only threads that last used this model")
    add("--git-origin", action="append", metavar="URL", help="only threads of this git remote")
    add("--parent", metavar="ID", help="only sub-agents that this thread spawned")
    add("--sort", choices=[key.value for key in SortKey], default="recency", help="default recency")
    add("--asc", action="store_true", help="oldest first")
    add("--limit", type=int, default=25, metavar="N", help="rows of a page (default 25)")
    add("--cursor", metavar="C", help="continue where an earlier page ended")


def filtered(
    args: argparse.Namespace, *, archived: bool | None, search_term: str | None = None
) -> ThreadQuery:
    """The threads that the options mean; see :func:`with_parent`."""
    named = bool(args.all or args.source or args.parent)
    return ThreadQuery(
        limit=args.limit,
        cursor=args.cursor,
        sort_key=SortKey(args.sort),
        descending=not args.asc,
        archived=archived,
        cwds=_folders(args.cwd),
        model_providers=tuple(args.provider) if args.provider else None,
        models=tuple(args.model) if args.model else None,
        git_origins=tuple(args.git_origin) if args.git_origin else None,
        sources=tuple(_source(word) for word in args.source) if args.source else None,
        exclude_sources=() if named else _SUBAGENTS,
        search_term=search_term,
        only_displayable=not args.all,
    )


async def with_parent(store: ThreadStore, query: ThreadQuery, parent: str | None) -> ThreadQuery:
    """*query*, only for the sub-agents of the thread that a person named, if one was named."""
    if parent is None:
        return query
    import msgspec

    thread = await find_thread(store, parent)
    return msgspec.structs.replace(query, parent_id=thread.id)


def _folders(folders: list[str] | None) -> tuple[str, ...] | None:
    return None if folders is None else tuple(os.path.abspath(folder) for folder in folders)


def _source(word: str) -> str:
    if word in SOURCES or word.startswith("custom:"):
        return word
    known = " ".join((*SOURCES, "custom:NAME"))
    raise InvalidRequest(f"unknown source: {word!r}", hint=f"one of: {known}")
