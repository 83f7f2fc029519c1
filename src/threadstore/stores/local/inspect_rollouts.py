"""What is wrong inside a rollout file, line by line, and what Codex makes of it."""

from __future__ import annotations

import os
import re
from typing import Any, Final

from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.lines import parse_line
from threadstore.ids import try_thread_id
from threadstore.stores.local.header_faults import header_faults, is_strict
from threadstore.stores.local.lines import Log, split_lines
from threadstore.stores.local.locks import WriterLock, open_by_other_process
from threadstore.stores.local.paths import Home, RolloutFile, unavailable
from threadstore.stores.local.report import Report

__all__ = ["inspect_rollout"]

_MAX_LINES: Final = 20
"""Damaged lines of one file that are reported one by one."""
_BOM: Final = b"\xef\xbb\xbf"
_PASSWORD: Final = re.compile(r"[a-z+]+://[^/@]*:[^/]*@")
_DATE_FOLDER: Final = re.compile(r"\d{1,5}/\d{1,2}/\d{1,2}")
_KNOWN_TYPES: Final = frozenset(
    {
        "compacted",
        "dynamic_tools_updated",
        "event_msg",
        "inter_agent_communication",
        "inter_agent_communication_metadata",
        "realtime_item",
        "response_item",
        "retained_context",
        "security_risk_score",
        "session_meta",
        "token_usage_record",
        "turn_context",
        "world_state",
    }
)
"""Types of lines that any Codex up to 0.169 writes."""
_REPAIRABLE: Final = frozenset(
    {
        "byte_order_mark",
        "corrupt_compression",
        "foreign_header",
        "invalid_utf8",
        "late_header",
        "no_header",
        "no_timestamp",
        "old_form",
        "rejected_header",
    }
)
"""What ``repair`` mends."""


def inspect_rollout(home: Home, file: RolloutFile, report: Report) -> None:
    """Report what is wrong with one file. Reads all of it."""
    _inspect_place(home, file, report)
    lines = _Lines(home, file, report)
    try:
        with Log.open(file.actual_path) as log:
            for part, terminated in split_lines(log.chunks()):
                lines.damage = log.damage
                for line in part:
                    lines.look(line, terminated=terminated)
            lines.damage = log.damage
    except FileNotFoundError:
        return
    except OSError as error:
        lines.add("error", "unreadable_file", f"cannot be read: {error.strerror or error}")
        return
    lines.finish()


def _inspect_place(home: Home, file: RolloutFile, report: Report) -> None:
    thread_id = file.name.thread_id if file.name else None
    folder = os.path.dirname(file.path)
    if file.archived:
        usual = folder == home.archived
    else:
        usual = bool(_DATE_FOLDER.fullmatch(os.path.relpath(folder, home.sessions)))
    if not usual:
        reason = "lies where Codex's list does not look; listed here all the same"
        report.add("warning", "odd_place", file.path, reason, thread_id=thread_id)
    if file.name is None or file.name.stamp is None:
        reason = "the file name holds no time and id as Codex wants them: its list leaves it out"
        report.add("warning", "odd_name", file.path, reason, thread_id=thread_id)
    if file.actual_path == file.path and os.path.exists(f"{file.path}.zst"):
        reason = "there is a compressed file beside the plain one; the plain one counts"
        report.add("info", "two_forms", file.path, reason, thread_id=thread_id)


class _Lines:
    """The lines of one file, as they come."""

    def __init__(self, home: Home, file: RolloutFile, report: Report) -> None:
        self.home = home
        self.file = file
        self.report = report
        self.thread_id = file.name.thread_id if file.name else None
        self.damage: str | None = None
        self.position = 0
        self.items = 0
        self.damaged = 0
        self.not_utf8 = 0
        self.unstamped = 0
        self.bare = 0
        self.unknown: set[str] = set()
        self.byte_order_mark = False
        self.header_seen = False
        self.secret_seen = False

    def add(self, severity: Any, code: str, reason: str, **more: Any) -> None:
        more.setdefault("repairable", code in _REPAIRABLE)
        self.report.add(severity, code, self.file.path, reason, thread_id=self.thread_id, **more)

    def look(self, line: bytes, *, terminated: bool) -> None:
        self.position += 1
        if self.position == 1 and line.startswith(_BOM):
            reason = "begins with a byte order mark: Codex cannot read the header and hides it"
            self.byte_order_mark = True
            self.add("warning", "byte_order_mark", reason)
        if not line.isascii() and not _is_utf8(line):
            self.not_utf8 += 1
        entry = parse_line(line, self.position, terminated=terminated)
        if isinstance(entry, DamagedLine) and self.damage is not None and not terminated:
            self.position -= 1  # torn by the damage, which is reported as what it is
        elif isinstance(entry, DamagedLine):
            self._damaged(entry, terminated=terminated)
        elif entry is not None:
            self.items += 1
            self._item(entry)
            if not terminated and self.damage is None:
                self._unterminated("the last line is whole but does not end in a newline")

    def _damaged(self, entry: DamagedLine, *, terminated: bool) -> None:
        self.damaged += 1
        if not terminated:
            self._unterminated(f"line {entry.position}: {entry.reason}", code="torn_tail")
        elif self.damaged <= _MAX_LINES:
            self.add("error", "damaged_line", f"line {entry.position}: {entry.reason}")

    def _compression(self, damage: str) -> None:
        if not self.file.size:
            damage = "0 bytes, which is no compressed data"
        rest = f"can be read up to line {self.position} only"
        if not self.position:
            rest = "nothing of it can be read: what lists show is its file name, name and row"
        self.add("error", "corrupt_compression", f"{damage}; {rest}")

    def _unterminated(self, reason: str, *, code: str = "no_final_newline") -> None:
        glued = "Codex up to 0.144 would glue its next line to it and lose both"
        plain = self.file.actual_path == self.file.path
        self.add(
            "warning",
            code,
            f"{reason}; {glued}",
            fix="add the newline" if plain else None,
            repair=self._add_newline if plain else None,
        )

    def _item(self, item: RolloutItem) -> None:
        assert item.raw is not None
        if b'"payload"' not in item.raw:
            self.bare += item.type != "record_state"
        elif item.timestamp is None:
            self.unstamped += 1
        if item.type == "session_meta":
            self._session_meta(item)
        elif item.type not in _KNOWN_TYPES and item.type != "record_state":
            self.unknown.add(item.type)

    def _session_meta(self, item: RolloutItem) -> None:
        payload = item.payload
        if not isinstance(payload, dict):
            return
        if not self.header_seen:
            self.header_seen = True
            self._header(payload, item.raw or b"")
        git = payload.get("git")
        url = git.get("repository_url") if isinstance(git, dict) else None
        if isinstance(url, str) and _PASSWORD.match(url) and not self.secret_seen:
            self.secret_seen = True
            reason = "the log keeps the credentials of a git remote; they are never shown"
            self.add("info", "credentials_in_log", reason)

    def _header(self, payload: dict[str, Any], raw: bytes) -> None:
        own = try_thread_id(str(payload.get("id")))
        if own is not None and self.thread_id is not None and own != self.thread_id:
            if self.damaged:
                reason = f"its own header is damaged; the next one belongs to thread {own}"
                self.add("error", "foreign_header", reason)
                return
            reason = f"the header names thread {own}, which is what counts for Codex, too"
            self.add("warning", "id_mismatch", reason)
        if self.items + self.damaged > 1:
            reason = "the header does not come first: Codex 0.169 does not resume the thread"
            self.add("warning", "late_header", reason)
        faults = [f"{field} {reason}" for field, reason in header_faults(payload)]
        if not is_strict(raw) and not self.not_utf8 and not self.byte_order_mark:
            faults.append("its text is not JSON as Codex reads it")
        if faults and not self.bare:
            reason = f"Codex hides the thread because of its header: {'; '.join(faults)}"
            self.add("warning", "rejected_header", reason)

    def finish(self) -> None:
        if self.damaged > _MAX_LINES:
            more = self.damaged - _MAX_LINES
            self.add("error", "damaged_line", f"{more} more damaged lines")
        if self.damage is not None:
            self._compression(self.damage)
        nothing = not self.items and not self.damaged
        if nothing and self.damage is None:
            reason = "holds no line; only a row can make a thread of it"
            self.add("warning", "empty_file", reason)
        elif not nothing and not self.header_seen:
            reason = "no header can be read: what it said is taken from the file name and the row"
            self.add("error", "no_header", reason)
        if self.not_utf8:
            reason = f"{self.not_utf8} lines are not UTF-8: Codex refuses to load the whole thread"
            self.add("warning", "invalid_utf8", reason)
        if self.bare:
            reason = f"{self.bare} lines of Codex 0.3x and before: later releases hide the thread"
            self.add("warning", "old_form", reason)
        if self.unstamped:
            reason = f"{self.unstamped} lines have no timestamp: Codex drops them"
            self.add("warning", "no_timestamp", reason)
        if self.unknown:
            kinds = ", ".join(sorted(self.unknown)[:5])
            reason = f"lines of types that no Codex up to 0.169 writes, and all drop: {kinds}"
            self.add("info", "unknown_type", reason)

    def _add_newline(self) -> None:
        """End the last line, as every writer would before its next one."""
        with WriterLock.acquire(self.home, self.thread_id or os.path.basename(self.file.path)):
            if open_by_other_process(self.file.path) is not None:
                return
            _end_last_line(self.file.path)


def _end_last_line(path: str) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            before = os.fstat(descriptor)
            if before.st_size and os.pread(descriptor, 1, before.st_size - 1) != b"\n":
                os.write(descriptor, b"\n")
                # Codex shows the time of the file as the time of the last use.
                os.utime(descriptor, ns=(before.st_atime_ns, before.st_mtime_ns))
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise unavailable(error, f"cannot write {path}") from error


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
