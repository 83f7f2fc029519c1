"""``threadstore export``: a thread as Markdown, JSON or rollout lines."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from threadstore.cli.context import Context
from threadstore.cli.reading import all_turns, check_readable, readable, report_damage
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.errors import InvalidRequest
from threadstore.metadata import StoredThread
from threadstore.store import ThreadStore

__all__ = ["check_output", "configure", "new_file", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``export``."""
    parser.description = "Write a thread to standard output or to a file."
    parser.epilog = """\
formats:
  md     the conversation, readable
  json   {"thread": …} in Codex protocol JSON, all turns included
  jsonl  the rollout byte for byte, damaged lines included; a compressed one decompressed

examples:
  threadstore export 01a201e8 --format md --output parser.md
  threadstore export 01a201e8 --format jsonl | wc -l
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    parser.add_argument("--format", choices=list(_FORMATS), default="md", help="default md")
    parser.add_argument("--output", metavar="FILE", help="a new file instead of standard output")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Export one thread."""
    if args.output is not None:
        check_output(args.output, force=args.force)
    async with context.open_store() as store:
        thread = await find_thread(store, args.id)
        with readable():
            await _write(context, args, store, thread)
        if args.format != "jsonl":  # which has every line
            await report_damage(context.console, store, thread.id)
    return 0


async def _write(
    context: Context, args: argparse.Namespace, store: ThreadStore, thread: StoredThread
) -> None:
    chunks = _FORMATS[args.format](store, thread)
    if args.output is None:
        async for chunk in chunks:
            context.console.raw(chunk)
        return
    first = await anext(chunks, b"")  # an unreadable thread leaves no file behind
    with new_file(args.output, force=args.force) as write, context.console.working("writing"):
        write(first)
        async for chunk in chunks:
            write(chunk)
    context.console.remark(f"wrote {args.output}")


def check_output(path: str, *, force: bool) -> None:
    """Refuse before anything is read."""
    if os.path.isdir(path):
        raise InvalidRequest(f"{path} is a folder", hint="name a file in it")
    if not force and os.path.lexists(path):
        raise InvalidRequest(f"{path} exists", hint="name another file, or give --force")


@contextlib.contextmanager
def new_file(path: str, *, force: bool) -> Iterator[Callable[[bytes], object]]:
    """The write function of a new file; a file left incomplete by an error is removed."""
    try:
        file = open(path, "wb" if force else "xb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror}") from error
    complete = False
    try:
        with file:
            yield file.write
        complete = True
    finally:
        if not complete and not force:
            os.unlink(path)


async def _markdown(store: ThreadStore, thread: StoredThread) -> AsyncIterator[bytes]:
    from threadstore.cli.markdown import head, section

    text = head(thread)  # goes out with the first turn: nothing does if there is none to read
    async for turn in all_turns(store, thread.id):
        yield (text + section(turn)).encode("utf-8", "replace")
        text = ""
    yield text.encode("utf-8", "replace")


async def _json(store: ThreadStore, thread: StoredThread) -> AsyncIterator[bytes]:
    from threadstore.cli.console import json_bytes
    from threadstore.protocol.codex_thread import protocol_thread

    turns = [turn async for turn in all_turns(store, thread.id)]
    yield json_bytes({"thread": protocol_thread(thread, turns=turns)}) + b"\n"


async def _rollout(store: ThreadStore, thread: StoredThread) -> AsyncIterator[bytes]:
    empty = True
    async for chunk in store.raw_history(thread.id):
        empty = False
        yield chunk
    if empty:
        await check_readable(store, thread.id)


_FORMATS: Final[dict[str, Callable[[ThreadStore, StoredThread], AsyncIterator[bytes]]]] = {
    "md": _markdown,
    "json": _json,
    "jsonl": _rollout,
}
