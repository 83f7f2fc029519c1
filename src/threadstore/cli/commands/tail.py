"""``threadstore tail``: what happens in a thread, as it happens."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from threadstore.cli.commands.turns import print_entry
from threadstore.cli.context import Context
from threadstore.cli.conversation import Stream
from threadstore.cli.reading import readable
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.errors import InvalidRequest
from threadstore.following import closing
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.lines import Entry

if TYPE_CHECKING:
    from threadstore.store import ThreadStore

__all__ = ["configure", "run"]

_LAST: Final = 10
_LINES_PER_CONTRIBUTION: Final = 8
"""As many lines are read for one contribution, at first."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``tail``."""
    parser.description = """\
Show the end of a conversation and then what is added to it, by whatever program, until Ctrl-C:
what is said, tools in one line each."""
    parser.epilog = """\
with --json every line of the history is printed as it stands, and --last counts lines

examples:
  threadstore tail 01a201e8
  threadstore tail "my refactoring" --last 50 --no-follow
  threadstore tail 01a201e8 --after 120 --json | jq -c .payload
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    start = parser.add_mutually_exclusive_group()
    start.add_argument(
        "--last", type=int, metavar="N", help=f"begin with the last N (default {_LAST})"
    )
    start.add_argument("--after", type=int, metavar="N", help="begin after line N of the history")
    parser.add_argument("--no-follow", action="store_true", help="end where the history ends")
    parser.add_argument("--json", action="store_true", help="print the lines of the history")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Show what is there, then what comes."""
    last = _LAST if args.last is None else args.last
    if last < 0:
        raise InvalidRequest(f"--last must be a whole number from 0, not {last}")
    async with context.open_store() as store:
        thread = await find_thread(store, args.id)
        view = _Lines(context) if args.json else _Conversation(context)
        with readable():
            after = args.after
            if after is None:
                after = await view.begin(store, thread.id, last)
            watch = store.iter_history if args.no_follow else store.watch_thread
            async with closing(watch(thread.id, after=after)) as entries:
                async for entry in entries:
                    view.show(entry)
    return 0


class _Lines:
    """The history as it stands, for programs."""

    def __init__(self, context: Context) -> None:
        self._console = context.console

    async def begin(self, store: ThreadStore, thread_id: str, last: int) -> int:
        """Show the last lines; the position to go on at."""
        entries, after = await _end_of(store, thread_id, last)
        for entry in entries:
            self.show(entry)
        return after

    def show(self, entry: Entry) -> None:
        """Print a line."""
        line = entry.line() if isinstance(entry, RolloutItem) else entry.raw
        self._console.raw(line + b"\n")
        self._console.flush()


class _Conversation:
    """What is said, for people."""

    def __init__(self, context: Context) -> None:
        self._console = context.console
        self._stream = Stream()
        self._position = 0

    async def begin(self, store: ThreadStore, thread_id: str, last: int) -> int:
        """Show the last contributions; the position to go on at."""
        header = await _first(store, thread_id)
        lines = _LINES_PER_CONTRIBUTION * last
        while True:
            entries, after = await _end_of(store, thread_id, lines)
            self._stream = Stream(header)
            items = (entry for entry in entries if isinstance(entry, RolloutItem))
            said = [entry for item in items for entry in self._stream.take(item)]
            if len(said) >= last or len(entries) < lines:
                break
            lines *= 4
        for entry in said[max(len(said) - last, 0) :]:
            print_entry(self._console, entry)
        self._console.flush()
        self._position = after
        return after

    def show(self, entry: Entry) -> None:
        """Print what a line says, if it says anything to people."""
        position = entry.position or 0
        if position <= self._position:
            self._console.remark(f"what was said after line {position - 1} was taken back")
        self._position = position
        if isinstance(entry, DamagedLine):
            self._console.remark(f"line {position} is left out: {entry.reason}")
            return
        for said in self._stream.take(entry):
            print_entry(self._console, said)
        self._console.flush()


async def _first(store: ThreadStore, thread_id: str) -> RolloutItem | None:
    """The first line of a thread: its header."""
    async with closing(store.iter_history(thread_id)) as entries:
        async for entry in entries:
            return entry if isinstance(entry, RolloutItem) else None
    return None


async def _end_of(store: ThreadStore, thread_id: str, count: int) -> tuple[list[Entry], int]:
    """The last lines of a history, and the position behind them. A damaged line at the very end
    is left for later: it may still be written."""
    found: list[Entry] = []
    async with closing(store.iter_history(thread_id, reverse=True)) as entries:
        async for entry in entries:
            found.append(entry)
            if len(found) > count:
                break
    after = (found[0].position or 0) if found else 0
    if found and isinstance(found[0], DamagedLine):
        del found[0]
        after -= 1
    return found[:count][::-1], after
