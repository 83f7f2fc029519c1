"""``threadstore search``: find what was said, by whom, and in which thread."""

from __future__ import annotations

import argparse
import datetime as dt
from typing import TYPE_CHECKING, Any

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.cli.text import ago, cut, one_line, short_path, timestamp
from threadstore.cli.thread_filters import SOURCES_HELP, add_filters, filtered, with_parent
from threadstore.cli.threads_view import short_ids
from threadstore.clock import SystemClock
from threadstore.errors import InvalidRequest
from threadstore.search import Occurrence, SearchPage, SearchQuery, TextRole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from threadstore.cli.console import Console
    from threadstore.store import ThreadStore

__all__ = ["configure", "run"]

_NAME_COLUMNS = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``search``."""
    parser.description = """\
Find words in messages, calls and outputs of tools, names and titles. All words must be in one text;
letter case does not matter. Shows each thread once, with the first place, newest use first."""
    parser.epilog = f"""\
words begin* foo.bar "an exact phrase"; an argument of several words is a phrase as well

WHEN is a date or time (2026-03-04, 2026-03-04T15:00), or how long ago (90m, 12h, 7d, 4w)

{SOURCES_HELP}

in a pipe each place is one line of fields separated by tabs:
thread id, name or preview, time of the text, role or name of the tool, position, snippet

examples:
  threadstore search parser error
  threadstore search "index out of range" --role tool --since 7d
  threadstore search --literal 'foo(bar' --cwd . --with-archived
  threadstore search parser --thread 01a201e8
  threadstore search parser --json | jq -r '.data[].thread.id'
"""
    parser.add_argument("words", nargs="+", metavar="WORDS", help="what to look for")
    add = parser.add_argument
    add("--thread", metavar="ID", help=f"every place in this one thread: {ID_HELP}")
    add("--literal", action="store_true", help="the text as it stands, from a word's beginning on")
    add("--ranked", action="store_true", help="best match first, not newest use")
    roles = [role.value for role in TextRole]
    add("--role", action="append", choices=roles, help="only what these said; repeatable")
    add("--tool", action="append", metavar="NAME", help="only calls and outputs of this tool")
    add("--since", metavar="WHEN", help="only what was said then or later")
    add("--until", metavar="WHEN", help="only what was said before")
    add("--archived", action="store_true", help="archived threads instead of active ones")
    add("--with-archived", action="store_true", help="archived threads too")
    add_filters(parser)
    add("--json", action="store_true", help="print JSON, threads as in the Codex protocol")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Search all threads, or one."""
    query = _query(args)
    async with context.open_store() as store:
        with context.console.reporting("reading threads") as report:
            await store.prepare_search(report)
        if args.thread is not None:
            return await _search_one(context, args, store, query)
        import msgspec

        threads = await with_parent(store, query.threads, args.parent)
        query = msgspec.structs.replace(query, threads=threads)
        with context.console.working("searching"):
            page = await store.search_threads(query)
    _print_page(context, args, page)
    return 0


def _query(args: argparse.Namespace) -> SearchQuery:
    now = SystemClock().now()
    archived = None if args.with_archived else bool(args.archived)
    return SearchQuery(
        text=" ".join(args.words if args.literal else map(_phrase, args.words)),
        literal=args.literal,
        ranked=args.ranked,
        roles=tuple(map(TextRole, args.role)) if args.role else None,
        tools=tuple(args.tool) if args.tool else None,
        since=_moment(args.since, now),
        until=_moment(args.until, now),
        threads=filtered(args, archived=archived),
    )


def _phrase(argument: str) -> str:
    """Who quotes several words for the shell means a phrase."""
    several = len(argument.split()) > 1 and '"' not in argument
    return f'"{argument}"' if several else argument


def _moment(text: str | None, now: dt.datetime) -> dt.datetime | None:
    """A date, a time or an age; what has no time zone is local time."""
    if text is None:
        return None
    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    try:
        if text[-1:] in units and text[:-1].isdecimal():
            return now - dt.timedelta(**{units[text[-1]]: int(text[:-1])})
        moment = dt.datetime.fromisoformat(text)
        return moment.astimezone() if moment.tzinfo is None else moment
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"{text!r} is no time", hint="write 2026-03-04, 2026-03-04T15:00, 90m, 12h, 7d or 4w"
        ) from error


async def _search_one(
    context: Context, args: argparse.Namespace, store: ThreadStore, query: SearchQuery
) -> int:
    """Every place in one thread."""
    console = context.console
    thread = await find_thread(store, args.thread)
    with console.working("searching"):
        page = await store.search_occurrences(
            thread.id, query, cursor=args.cursor, limit=args.limit, descending=not args.asc
        )
    if args.json:
        data = [_occurrence_json(found) for found in page.items]
        console.json({"data": data, "nextCursor": page.next_cursor, "degraded": page.degraded})
        return 0
    for found in page.items:
        if console.terminal:
            when = found.said_at.astimezone().strftime("%Y-%m-%d %H:%M")
            _print_place(console, found, f"{when}  {_who(found):<10}")
        else:
            _print_record(console, found, one_line(thread.display_name))
    _remarks(console, page.next_cursor, page.degraded, empty=not page.items)
    if console.terminal and (cursor := _last_cursor(page.items)) is not None:
        console.remark(f"read on there: threadstore turns {thread.id} --cursor {cursor}", dim=True)
    return 0


def _last_cursor(items: Iterable[Occurrence]) -> str | None:
    cursors = [found.turn_cursor for found in items if found.turn_cursor is not None]
    return cursors[0] if cursors else None


def _print_page(context: Context, args: argparse.Namespace, page: SearchPage) -> None:
    console = context.console
    if args.json:
        from threadstore.protocol.codex_thread import protocol_thread

        data = [
            {"thread": protocol_thread(hit.thread), **_occurrence_json(hit.found)}
            for hit in page.items
        ]
        console.json({"data": data, "nextCursor": page.next_cursor, "degraded": page.degraded})
        return
    if console.terminal:
        _print_hits(console, page)
    else:
        for hit in page.items:
            _print_record(console, hit.found, one_line(hit.thread.display_name))
    _remarks(console, page.next_cursor, page.degraded, empty=not page.items)


def _print_hits(console: Console, page: SearchPage) -> None:
    """Two lines a thread: which one it is, and what was found."""
    now = SystemClock().now()
    short = short_ids([hit.thread for hit in page.items])
    for hit, thread_id in zip(page.items, short, strict=True):
        thread = hit.thread
        facts = [
            cut(one_line(thread.display_name), _NAME_COLUMNS) or "(empty)",
            ago(hit.found.said_at, now),
            one_line(short_path(thread.cwd)),
            "archived" if thread.archived else "",
        ]
        console.line(f"{thread_id}  " + "  ".join(fact for fact in facts if fact))
        _print_place(console, hit.found, f"  {_who(hit.found):<10}")


def _print_place(console: Console, found: Occurrence, head: str) -> None:
    console.marked(f"{head} ", found.snippet, found.marks)


def _print_record(console: Console, found: Occurrence, name: str) -> None:
    when, position = timestamp(found.said_at), str(found.position)
    console.record(
        found.thread_id, cut(name, 120), when, _who(found), position, one_line(found.snippet)
    )


def _who(found: Occurrence) -> str:
    return one_line(found.tool or found.role.value)


def _occurrence_json(found: Occurrence) -> dict[str, Any]:
    return {
        "role": found.role.value,
        "tool": found.tool,
        "position": found.position,
        "saidAt": int(found.said_at.timestamp()),
        "snippet": found.snippet,
        "marks": [list(mark) for mark in found.marks],
        "turnCursor": found.turn_cursor,
    }


def _remarks(console: Console, cursor: str | None, degraded: str | None, *, empty: bool) -> None:
    if empty:
        console.remark("nothing was found")
    if degraded is not None:
        console.remark(f"there may be more: {degraded}")
    if cursor is not None:
        console.remark(f"more: the same command with --cursor {cursor}")
