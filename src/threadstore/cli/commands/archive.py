"""``threadstore archive``: put a thread and its sub-agents away."""

from __future__ import annotations

import argparse

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.text import plural

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``archive``."""
    parser.description = """\
Archive a thread and the sub-agents it spawned. Archived threads keep everything and come
back with `threadstore unarchive`."""
    parser.epilog = """\
examples:
  threadstore archive 01a201e8
  threadstore list --archived
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)


async def run(context: Context, args: argparse.Namespace) -> int:
    """Archive one thread and its descendants."""
    from threadstore.manager import ThreadManager

    async with context.open_store() as store:
        thread = await find_thread(store, args.id, archived=False)
        ids = await ThreadManager(store).archive(thread.id)
    context.console.line(f"archived {plural(len(ids), 'thread')}: {' '.join(ids)}")
    return 0
