"""``threadstore unarchive``: bring an archived thread back."""

from __future__ import annotations

import argparse

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.text import plural

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``unarchive``."""
    parser.description = "Bring an archived thread and its archived sub-agents back."
    parser.epilog = """\
examples:
  threadstore unarchive 01a201e8
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)


async def run(context: Context, args: argparse.Namespace) -> int:
    """Bring one thread and its descendants back."""
    from threadstore.manager import ThreadManager

    async with context.open_store() as store:
        thread = await find_thread(store, args.id, archived=True)
        ids = await ThreadManager(store).unarchive(thread.id)
    context.console.line(f"unarchived {plural(len(ids), 'thread')}: {' '.join(ids)}")
    return 0
