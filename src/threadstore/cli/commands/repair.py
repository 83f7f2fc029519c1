"""``threadstore repair``: a damaged log written again so that Codex reads it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from threadstore.cli.commands.export import check_output, new_file
from threadstore.cli.console import Console
from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.table import Column
from threadstore.errors import InvalidRequest
from threadstore.store import RepairedLine, ThreadStore

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``repair``."""
    parser.description = """\
Write the log of a thread again so that Codex reads it: with a header where there is none, without
bytes that are no text and values that no Codex knows, the bare lines of Codex 0.29 in today's form.
A line that is good stays as it is, byte for byte. `threadstore doctor` says which threads need
it."""
    parser.epilog = """\
in a pipe each changed line is one line of fields separated by tabs: number, change
(number 0: added before the first line)

examples:
  threadstore repair 01a201e8 --output repaired.jsonl
  threadstore repair 01a201e8 --in-place
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    parser.add_argument("--output", metavar="FILE", help="write the repaired log to a new file")
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="put the repaired log in the place of the damaged one, which is kept beside it",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Repair one thread."""
    if (args.output is None) is not bool(args.in_place):
        raise InvalidRequest(
            "give either --output FILE or --in-place", hint="see `threadstore repair --help`"
        )
    if args.output is not None:
        check_output(args.output, force=False)
    changes: Sequence[RepairedLine]
    original: str | None = None
    async with context.open_store() as store:
        thread = await find_thread(store, args.id)
        with context.console.working("repairing"):
            if args.in_place:
                repair = await store.repair_thread(thread.id)
                changes, original = repair.changes, repair.original
            else:
                changes = await _write(store, thread.id, args.output)
    if args.json:
        context.console.json(
            {
                "threadId": thread.id,
                "changes": [_json(change) for change in changes],
                "output": args.output,
                "original": original,
            }
        )
    else:
        _report(context.console, changes, args.output, original)
    return 0


async def _write(store: ThreadStore, thread_id: str, path: str) -> Sequence[RepairedLine]:
    """The repaired log as a new file; the lines that changed."""
    changes = []
    lines = store.repaired_history(thread_id)
    first = await anext(lines, None)  # an unreadable thread leaves no file behind
    with new_file(path, force=False) as write:
        while first is not None:
            if first.change is not None:
                changes.append(first)
            if first.line is not None:
                write(first.line + b"\n")
            first = await anext(lines, None)
    return changes


def _report(
    console: Console, changes: Sequence[RepairedLine], output: str | None, original: str | None
) -> None:
    if console.terminal and changes:
        rows = [(str(change.number), change.change or "") for change in changes]
        console.table((Column("line"), Column("change")), rows)
    elif not console.terminal:
        for change in changes:
            console.record(str(change.number), change.change or "")
    if not changes:
        console.remark("no line has to be changed")
    if output is not None:
        console.remark(f"wrote {output}")
    if original is not None:
        console.remark(f"the log as it was is {original}")


def _json(change: RepairedLine) -> dict[str, Any]:
    return {"line": change.number, "change": change.change}
