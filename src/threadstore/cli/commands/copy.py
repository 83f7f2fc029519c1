"""``threadstore copy``: threads from one store to another, and what is new of them."""

from __future__ import annotations

import argparse
import asyncio
import os
from typing import Any, Final

from threadstore.cli.context import Context, full_url
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.table import Column
from threadstore.cli.text import one_line
from threadstore.copying import CopiedThread, Copier, all_thread_ids
from threadstore.errors import InvalidRequest
from threadstore.store import ThreadStore

__all__ = ["configure", "run"]

_RESULTS: Final = {
    "copied": "copied",
    "extended": "continued",
    "unchanged": "already there",
    "failed": "failed",
}
_PATIENCE: Final = 15.0
"""Seconds after which the writer of a copy that was killed has surely lost its threads."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``copy``."""
    parser.description = """\
Copy threads from one store to another, archived ones too: logs byte for byte, names and other
facts. What is there already is compared and not copied again, so the same command goes on where
it was interrupted, and later copies what is new. A thread that has other lines at the
destination is left alone. Threads that a fork stands on are copied with it."""
    parser.epilog = """\
in a pipe each thread is one line of fields separated by tabs:
id, result (copied, extended, unchanged or failed), new lines, reason or nothing

exit code: that of the worst failure (2, 3 or 4), 0 if no thread failed

examples:
  threadstore copy ~/.codex postgresql://ada@db/threads --all --dry-run
  threadstore copy local: postgresql://ada@db/threads --all
  threadstore copy postgresql://ada@db/threads local:restored --thread 01a201e8
"""
    parser.add_argument("source", metavar="SRC", help="store URL, or the folder of a Codex home")
    parser.add_argument("destination", metavar="DST", help="the same")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="every thread, archived ones too")
    which.add_argument("--thread", action="append", metavar="ID", help=f"{ID_HELP}; repeatable")
    parser.add_argument("--dry-run", action="store_true", help="say what would be copied")
    parser.add_argument("--json", action="store_true", help="print JSON")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Copy, and say what became of each thread."""
    source, destination = _url(args.source), _url(args.destination)
    _check(source, destination)
    done: dict[str, CopiedThread] = {}
    async with context.open_store(source) as here, context.open_store(destination) as there:
        ids = await _chosen(here, args)
        copier = Copier(here, there, dry_run=args.dry_run, patience=_PATIENCE)
        try:
            with context.console.counting("copying", len(ids)) as advance:
                async for one in copier.run(ids):
                    if one.thread_id not in done:
                        advance()
                    done[one.thread_id] = one
        except asyncio.CancelledError:
            context.console.remark(
                f"interrupted after {len(done)} of {len(ids)} threads;"
                " the same command goes on from there"
            )
            raise
    _print(context, args, list(done.values()))
    return _exit_code(list(done.values()))


def _url(text: str) -> str:
    """A folder will do for a local store."""
    return full_url(text if ":" in text else f"local:{text}")


def _check(source: str, destination: str) -> None:
    if source == destination:
        raise InvalidRequest("source and destination are one store", hint="name two stores")
    both_local = source.startswith("local:") and destination.startswith("local:")
    if both_local and os.environ.get("CODEX_SQLITE_HOME"):
        raise InvalidRequest(
            "CODEX_SQLITE_HOME would give both homes the same databases",
            hint="unset it, and say ?sqlite_home=DIR after the home that has it",
        )


async def _chosen(source: ThreadStore, args: argparse.Namespace) -> list[str]:
    if args.all:
        return await all_thread_ids(source)
    return [(await find_thread(source, text)).id for text in args.thread]


def _print(context: Context, args: argparse.Namespace, done: list[CopiedThread]) -> None:
    console = context.console
    if args.json:
        console.json({"data": [_json(one) for one in done], "nextCursor": None})
        return
    if not console.terminal:
        for one in done:
            reason = one_line(one.error.message) if one.error else ""
            console.record(one.thread_id, one.result, str(one.lines), reason)
        return
    columns = (Column("result"), Column("threads"), Column("new lines"))
    groups = {name: [one for one in done if one.result == name] for name in _RESULTS}
    rows = [
        (_RESULTS[name], str(len(group)), str(sum(one.lines for one in group)))
        for name, group in groups.items()
        if group
    ]
    if rows:
        console.table(columns, rows)
    else:
        console.line("no threads")
    for one in groups["failed"]:
        assert one.error is not None
        console.line(f"failed: {one.thread_id}: {one_line(one.error.message)}")
        if one.error.hint:
            console.line(f"  hint: {one_line(one.error.hint)}")
    if args.dry_run:
        console.remark("nothing was written: this was a dry run")


def _json(one: CopiedThread) -> dict[str, Any]:
    error = one.error
    return {
        "threadId": one.thread_id,
        "result": one.result,
        "newLines": one.lines,
        "error": error and {"code": error.code, "message": error.message, "hint": error.hint},
    }


def _exit_code(done: list[CopiedThread]) -> int:
    from threadstore.cli.app import exit_code

    return max((exit_code(one.error) for one in done if one.error is not None), default=0)
