"""``threadstore list``: threads, newest use first."""

from __future__ import annotations

import argparse

from threadstore.cli.context import Context
from threadstore.cli.thread_filters import SOURCES_HELP, add_filters, filtered, with_parent
from threadstore.cli.threads_view import print_threads
from threadstore.queries import ThreadPage, ThreadQuery

__all__ = ["configure", "default_query", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``list``."""
    parser.description = """\
List threads that have a name or a preview, from every source but sub-agents. Repeated
filters of one kind add up, different kinds narrow."""
    parser.epilog = f"""\
{SOURCES_HELP}

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
    add("--search", metavar="TEXT", help="only threads with this in name, title or preview")
    add_filters(parser)
    add("--json", action="store_true", help="print Codex protocol JSON")


async def run(context: Context, args: argparse.Namespace) -> int:
    """List a page of threads."""
    query = filtered(args, archived=args.archived, search_term=args.search)
    async with context.open_store() as store:
        with context.console.working("reading threads"):
            page = await store.list_threads(await with_parent(store, query, args.parent))
    _print_page(context, args, page)
    return 0


def default_query(limit: int = 25) -> ThreadQuery:
    """What ``list`` shows without options."""
    return ThreadQuery(limit=limit, only_displayable=True, exclude_sources=("subagent",))


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
