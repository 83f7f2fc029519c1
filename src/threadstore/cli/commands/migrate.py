"""``threadstore migrate``: the tables of a database, step by step up to date."""

from __future__ import annotations

import argparse

from threadstore.cli.context import Context

__all__ = ["configure", "run"]

EXIT_PENDING = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``migrate``."""
    parser.description = """\
Create the tables of a store in a database, or bring them up to date. Each step is one
transaction and only adds: programs that use the store go on working, older ones too."""
    parser.epilog = """\
every step is one line: its number and name; no line, nothing to do

examples:
  threadstore migrate --store postgresql://ada@db/threads --dry-run
  threadstore migrate --store postgresql://ada@db/threads
  threadstore migrate --store postgresql://ada@db/threads --check || echo "please migrate"
"""
    only_look = parser.add_mutually_exclusive_group()
    only_look.add_argument("--dry-run", action="store_true", help="print the steps to take")
    only_look.add_argument(
        "--check", action="store_true", help="the same; exit code 5 if there is a step to take"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Migrate, or look."""
    from threadstore.factory import migrate_store

    console = context.console
    looking = args.dry_run or args.check
    steps = migrate_store(context.store_url, dry_run=looking)
    if args.json:
        console.json(
            {"data": [{"step": step, "applied": not looking} for step in steps], "nextCursor": None}
        )
    else:
        for step in steps:
            console.line(step)
        if not steps:
            console.remark("the tables are up to date")
        elif looking:
            console.remark("these steps are to be taken: run it without --check and --dry-run")
    return EXIT_PENDING if args.check and steps else 0
