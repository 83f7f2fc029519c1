"""``threadstore delete``: delete a thread and its sub-agents for good."""

from __future__ import annotations

import argparse

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.text import one_line, plural
from threadstore.errors import InvalidRequest
from threadstore.metadata import StoredThread
from threadstore.queries import MAX_LIMIT, ThreadQuery
from threadstore.store import ThreadStore

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``delete``."""
    parser.description = """\
Delete a thread and the sub-agents it spawned, for good: history, name and all. Asks first;
where nobody can answer, --yes is needed."""
    parser.epilog = """\
to put a thread away and keep it, use `threadstore archive`

examples:
  threadstore delete 01a201e8
  threadstore delete 01a201e8-0ca9-7a21-aae0-e16912c4d29c --yes
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    parser.add_argument("--yes", action="store_true", help="do not ask")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Delete one thread and its descendants."""
    console = context.console
    if not args.yes and not console.interactive:
        raise InvalidRequest("delete needs --yes where nobody can be asked")
    from threadstore.manager import ThreadManager

    async with context.open_store() as store:
        thread = await find_thread(store, args.id)
        if not args.yes and not console.confirm(await _question(store, thread)):
            console.remark("nothing deleted")
            return 0
        ids = await ThreadManager(store).delete(thread.id)
    console.line(f"deleted {plural(len(ids), 'thread')}: {' '.join(ids)}")
    return 0


async def _question(store: ThreadStore, thread: StoredThread) -> str:
    query = ThreadQuery(ancestor_id=thread.id, archived=None, limit=MAX_LIMIT)
    children = len((await store.list_threads(query)).items)
    others = f" and {plural(children, 'sub-agent')}" if children else ""
    return f"delete {thread.id} ({one_line(thread.display_name)[:60] or 'no name'}){others}?"
