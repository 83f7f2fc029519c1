"""A log that Codex refuses, written again so that it does not: line by line, and no line is lost.

A line that Codex can read keeps its bytes. Lines that nobody can read stay, too: Codex skips them.
What is changed is what makes Codex (0.131 to 0.169) refuse the whole thread, or drop a line whose
meaning is clear: bytes that are no UTF-8, a byte order mark, a header that is missing or that has
a field of a wrong shape, lines without a time, the bare lines of 0.29, compressed data that break
off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from threadstore.clock import rfc3339_ms
from threadstore.errors import CorruptHistory
from threadstore.history.header import is_header_of
from threadstore.history.items import RolloutItem
from threadstore.history.lines import parse_line
from threadstore.history.messages import bare_event
from threadstore.ids import try_thread_id
from threadstore.metadata import StoredThread, ThreadMetadataPatch
from threadstore.store import RepairedLine
from threadstore.stores.local.header_faults import mend_header
from threadstore.stores.local.lines import Log, split_lines
from threadstore.stores.local.metadata import metadata_record
from threadstore.stores.local.reader import reading

__all__ = ["repaired_lines"]

_BOM: Final = b"\xef\xbb\xbf"


def repaired_lines(path: str, thread: StoredThread) -> Iterator[RepairedLine]:
    """Every line of the log at *path* as it should be, in order; *thread* is what is known of it.

    Raises CorruptHistory if no line can be read, FileNotFoundError if the log is gone,
    StoreUnavailable for other trouble.
    """
    with reading(path):
        yield from _repaired_lines(path, thread)


def _repaired_lines(path: str, thread: StoredThread) -> Iterator[RepairedLine]:
    with Log.open(path) as log:
        head = _survey(_lines(log), thread)
    with Log.open(path) as log:
        mender = _Mender(thread, bare=head.bare)
        if head.missing:
            yield RepairedLine(number=0, line=mender.header(head.own), change=head.reason)
        for line, terminated in _lines(log):
            yield from mender.mend(line, terminated=terminated)
        if log.damage is not None:
            reason = f"{log.damage}: what came after is lost"
            yield RepairedLine(number=mender.number + 1, line=None, change=reason)


def _lines(log: Log) -> Iterator[tuple[bytes, bool]]:
    for part, terminated in split_lines(log.chunks()):
        for line in part:
            yield line, terminated


class _Head(msgspec.Struct, kw_only=True):
    """What the beginning of a log is like."""

    bare: bool = False
    """Whether these are the lines of 0.29 or before."""
    missing: bool = True
    """Whether no header of the thread comes before everything else that matters."""
    own: bytes | None = None
    """The thread's own header, where there is one, but not at the beginning."""

    @property
    def reason(self) -> str:
        """Why a header is added."""
        if self.own is not None:
            return "added: the header, which has to come first"
        return "added: a header, from the file name, the row and the lines"


def _survey(lines: Iterable[tuple[bytes, bool]], thread: StoredThread) -> _Head:
    """Looks as far as the thread's own header. Codex 0.169 resumes a thread only if its first line
    that is not blank is one."""
    head, anything, first = _Head(), False, True
    for line, terminated in lines:
        item = parse_line(line, 1, terminated=terminated)
        if isinstance(item, RolloutItem):
            anything = True
            if first and item.type == "session_meta" and _may_be_own(item, thread):
                head.bare, head.missing = b'"payload"' not in line, False
                break
            if is_header_of(item, thread.id):
                head.own = line
                break
        first = first and item is None
    if not anything:
        raise CorruptHistory(
            f"no line of thread {thread.id} can be read", hint="there is nothing to repair"
        )
    return head


def _may_be_own(item: RolloutItem, thread: StoredThread) -> bool:
    """Whether a header names *thread*, or nobody."""
    own = item.payload.get("id") if isinstance(item.payload, dict) else None
    return is_header_of(item, thread.id) or try_thread_id(str(own)) is None


class _Mender:
    """Mends the lines of one log as they come."""

    def __init__(self, thread: StoredThread, *, bare: bool) -> None:
        self.thread = thread
        self.number = 0
        self._bare = bare
        self._header_seen = False
        self._stamp = rfc3339_ms(thread.created_at)

    def header(self, own: bytes | None) -> bytes:
        """A header for a log that does not begin with one."""
        self._header_seen = True
        if own is not None:
            mended = mend_header(RolloutItem.parse(own), self.thread, first=True)
            return own if mended is None else mended[0]
        record = metadata_record(self.thread, ThreadMetadataPatch())
        payload = {**record.payload, "originator": self.thread.originator or ""}
        for field in ("forked_from_id", "parent_thread_id"):
            if (value := getattr(self.thread, field)) is not None:
                payload[field] = value
        ordinal = 0 if self.thread.history_mode == "paginated" else None
        return RolloutItem(record.type, payload).encode(self._stamp, ordinal)

    def mend(self, line: bytes, *, terminated: bool) -> Iterator[RepairedLine]:
        """The line, and what has to stand beside it."""
        self.number += 1
        reasons: list[str] = []
        line = self._decodable(line, reasons)
        if not terminated:
            reasons.append("ended with a newline")
        entry = parse_line(line, self.number, terminated=terminated)
        if isinstance(entry, RolloutItem):
            if b'"payload"' not in line:
                yield from self._bare_line(entry, line, reasons)
                return
            line = self._header(entry, line, reasons)
            line = self._stamped(entry, line, reasons)
        yield self._repaired(line, reasons)

    def _repaired(self, line: bytes, reasons: list[str]) -> RepairedLine:
        return RepairedLine(number=self.number, line=line, change="; ".join(reasons) or None)

    def _decodable(self, line: bytes, reasons: list[str]) -> bytes:
        if self.number == 1 and line.startswith(_BOM):
            line = line.removeprefix(_BOM)
            reasons.append("byte order mark taken out")
        try:
            line.decode()
        except UnicodeDecodeError:
            text = line.decode("utf-8", "replace")
            reasons.append("bytes that are not UTF-8 replaced")
            return text.encode()
        return line

    def _header(self, item: RolloutItem, line: bytes, reasons: list[str]) -> bytes:
        if item.type != "session_meta":
            return line
        first, self._header_seen = not self._header_seen, True
        mended = mend_header(item, self.thread, first=first)
        if mended is None:
            return line
        reasons += mended[1]
        return mended[0]

    def _stamped(self, item: RolloutItem, line: bytes, reasons: list[str]) -> bytes:
        """With a time, which Codex wants to see on every line, and no ordinal of a wrong type."""
        if item.timestamp is not None:
            self._stamp = item.timestamp
        else:
            reasons.append("given a timestamp")
            line = _with(line, timestamp=self._stamp)
        return line

    # The bare lines of 0.29 and before

    def _bare_line(
        self, item: RolloutItem, line: bytes, reasons: list[str]
    ) -> Iterator[RepairedLine]:
        if item.type == "record_state" or (item.type == "session_meta" and not self._bare):
            yield self._repaired(line, reasons)
        elif item.type == "session_meta":
            self._header_seen = True
            instructions = {"instructions": item.payload.get("instructions")}
            header = _with_payload(self.header(None), instructions)
            yield self._repaired(header, [*reasons, "the header in today's form"])
        else:
            wrapped = b'{"timestamp":"%s","type":"response_item","payload":%s}' % (
                self._stamp.encode(),
                line.strip(),
            )
            yield self._repaired(wrapped, [*reasons, "put into a line of today's form"])
            event = bare_event(item.payload) if self._bare else None
            if event is not None:
                line = RolloutItem("event_msg", event).encode(self._stamp)
                reason = f"added: the {event['type']} event that Codex shows"
                yield RepairedLine(number=self.number, line=line, change=reason)


def _with(line: bytes, **first: Any) -> bytes:
    """The line with these keys in front; all others keep their bytes."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return line
    return msgspec.json.encode({**first, **{k: v for k, v in fields.items() if k not in first}})


def _with_payload(line: bytes, more: dict[str, Any]) -> bytes:
    item = RolloutItem.parse(line)
    return RolloutItem(item.type, {**item.payload, **more}).encode(
        item.timestamp or "", item.ordinal
    )
