"""``threadstore turns``: the conversation, turn by turn."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from threadstore.cli.console import Console
from threadstore.cli.context import Context
from threadstore.cli.conversation import Entry, entries, turn_facts
from threadstore.cli.reading import check_readable, readable, report_damage
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.text import clean, one_line, wrap
from threadstore.history.turns import StoredTurn

__all__ = ["configure", "print_entry", "print_turn", "run"]

_ROLE_COLUMNS = 8


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``turns``."""
    parser.description = """\
Show the latest turns of a thread in reading order: what was said, tools in one line each.
Turns that were rolled back are left out."""
    parser.epilog = """\
with --json the page is in the order in which it was asked for: newest turn first, or oldest
first with --asc

examples:
  threadstore turns 01a201e8
  threadstore turns 01a201e8 --limit 1
  threadstore turns "my refactoring" --asc --json | jq '.data[0].items'
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    parser.add_argument("--limit", type=int, default=25, metavar="N", help="turns (default 25)")
    parser.add_argument("--asc", action="store_true", help="from the first turn on, not the last")
    parser.add_argument("--cursor", metavar="C", help="continue where an earlier page ended")
    parser.add_argument("--json", action="store_true", help="print Codex protocol JSON")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Show a page of turns."""
    console = context.console
    async with context.open_store() as store:
        thread = await find_thread(store, args.id)
        with readable(), console.working("reading turns"):
            page = await store.list_turns(
                thread.id, cursor=args.cursor, limit=args.limit, descending=not args.asc
            )
            if not page.items:
                await check_readable(store, thread.id)
        latest = page.next_cursor is not None and not args.asc
        shown_from = min((turn.first_position for turn in page.items), default=1)
        await report_damage(console, store, thread.id, after=shown_from - 1 if latest else 0)
    if args.json:
        from threadstore.protocol.codex_thread import protocol_turn

        data = [protocol_turn(turn) for turn in page.items]
        console.json({"data": data, "nextCursor": page.next_cursor})
        return 0
    for turn in page.items if args.asc else reversed(page.items):
        print_turn(console, turn)
    if not page.items:
        console.remark("no turns")
    if page.next_cursor is not None:
        which = "later" if args.asc else "earlier"
        console.remark(f"{which} turns: the same command with --cursor {page.next_cursor}")
    return 0


def print_turn(console: Console, turn: StoredTurn) -> None:
    """Print one turn: a head line, then who said what."""
    when = turn.started_at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if turn.started_at else ""
    console.line("  ".join(part for part in ("turn", when, one_line(turn_facts(turn))) if part))
    for entry in entries(turn):
        print_entry(console, entry)
    console.line()


def print_entry(console: Console, entry: Entry) -> None:
    """Print who said what."""
    label = entry.role
    for line in _rows(console, entry.text.strip("\n")):
        console.line(f"  {label:<{_ROLE_COLUMNS}}{line}".rstrip())
        label = ""


def _rows(console: Console, text: str) -> Iterator[str]:
    """The lines of a text; on a terminal no longer than the screen leaves room for."""
    for line in clean(text).split("\n"):
        if console.terminal:
            yield from wrap(line.expandtabs(), max(console.screen - _ROLE_COLUMNS - 3, 20))
        else:
            yield line
