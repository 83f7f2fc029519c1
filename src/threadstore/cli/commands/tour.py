"""``threadstore tour``: your threads, or an example conversation if there are none."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys

from threadstore.cli.commands.list_threads import default_query
from threadstore.cli.commands.turns import print_turn
from threadstore.cli.context import Context
from threadstore.cli.threads_view import print_threads
from threadstore.errors import InvalidRequest

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``tour``."""
    parser.description = """\
Show the threads of your store. If there are none, record a short example conversation into
a home of its own and show that; your store is not touched."""
    parser.epilog = """\
examples:
  threadstore tour --home example-home
  threadstore --store local:example-home turns "An example conversation"
"""
    parser.add_argument(
        "--home", metavar="DIR", default="example-home", help="folder of the example's home"
    )


async def run(context: Context, args: argparse.Namespace) -> int:
    """Show the user's threads, else the example."""
    if await _show_own(context):
        return 0
    home = os.path.abspath(args.home)
    if os.path.exists(home) and not os.path.isdir(home):
        raise InvalidRequest(f"{home} is a file", hint="name a new folder with --home")
    await _show_example(context, home)
    return 0


async def _show_own(context: Context) -> bool:
    """Show the first page of the user's threads; ``False`` if there are none."""
    async with context.open_store() as store:
        with context.console.working("reading threads"):
            page = await store.list_threads(default_query())
    if not page.items:
        return False
    print_threads(context.console, page.items)
    remark = f"`{_command()} turns ID` shows a conversation, --help everything else"
    context.console.remark(remark)
    return True


async def _show_example(context: Context, home: str) -> None:
    """Show the example in *home*, recording it first if the folder has none yet."""
    from threadstore.cli.example import record_example

    console = context.console
    os.makedirs(home, mode=0o700, exist_ok=True)
    async with context.open_store(f"local:{home}") as store:
        page = await store.list_threads(default_query())
        if not page.items:
            await record_example(store, home)
            page = await store.list_threads(default_query())
        turns = await store.list_turns(page.items[0].id, descending=False)
    console.remark(f"no threads in {context.store_name}; here is an example in {home}")
    print_threads(console, page.items)
    console.line()
    for turn in turns.items:
        print_turn(console, turn)
    console.remark(f"`{_command()} --store local:{shlex.quote(home)} list` shows it again")


def _command() -> str:
    """How this program is called: ``make run`` installs it where no shell looks."""
    return "threadstore" if shutil.which("threadstore") else sys.argv[0]
