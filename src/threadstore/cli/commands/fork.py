"""``threadstore fork``: start a new thread from an existing one."""

from __future__ import annotations

import argparse
import os

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.errors import InvalidRequest
from threadstore.metadata import ThreadMetadataPatch

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``fork``."""
    parser.description = """\
Start a new thread that begins with the history of an existing one, and print its id. The
existing thread stays as it is."""
    parser.epilog = """\
examples:
  threadstore fork 01a201e8 --name "second try"
  codex resume "$(threadstore fork 01a201e8 --cwd .)"
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    parser.add_argument("--cwd", metavar="DIR", help="working directory (default: the original's)")
    parser.add_argument(
        "--name", metavar="NAME", help="name of the new thread (default: the original's)"
    )


async def run(context: Context, args: argparse.Namespace) -> int:
    """Fork one thread."""
    if args.name is not None and not args.name.strip():
        raise InvalidRequest("--name is empty", hint="without --name it has the original's name")
    cwd = None if args.cwd is None else os.path.abspath(args.cwd)
    patch = None if args.name is None else ThreadMetadataPatch(name=args.name)
    from threadstore.manager import ThreadManager

    async with context.open_store() as store, ThreadManager(store) as manager:
        source = await find_thread(store, args.id)
        fork = await manager.fork(source.id, cwd=cwd)
        if patch is not None:
            await manager.update_thread_metadata(fork.id, patch)
    context.console.line(fork.id)
    return 0
