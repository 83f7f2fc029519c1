"""``threadstore rename``: name a thread, or take its name away."""

from __future__ import annotations

import argparse
from typing import Final

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.text import one_line
from threadstore.errors import InvalidRequest
from threadstore.metadata import ThreadMetadataPatch

__all__ = ["configure", "run"]

_HELP: Final = "see `threadstore rename --help`"


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``rename``."""
    parser.description = "Give a thread a name, or take its name away with --clear."
    parser.epilog = """\
examples:
  threadstore rename 01a201e8 "parser rewrite"
  threadstore rename "parser rewrite" --clear
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    parser.add_argument("name", metavar="NAME", nargs="?", help="the new name")
    parser.add_argument("--clear", action="store_true", help="take the name away")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Rename one thread."""
    if (args.name is None) is not bool(args.clear):
        raise InvalidRequest("give either a NAME or --clear", hint=_HELP)
    if args.name is not None and not args.name.strip():
        raise InvalidRequest("the NAME is empty", hint="use --clear to take the name away")
    patch = ThreadMetadataPatch(name=args.name)
    from threadstore.manager import ThreadManager

    async with context.open_store() as store:
        thread = await find_thread(store, args.id)
        updated = await ThreadManager(store).update_thread_metadata(
            thread.id, patch, include_archived=True
        )
    said = "has no name now" if updated.name is None else f"is now {one_line(updated.name)}"
    context.console.line(f"{thread.id} {said}")
    return 0
