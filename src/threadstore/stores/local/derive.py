"""Metadata from a rollout alone: one streaming pass over its lines.

What Codex derives is described with :mod:`threadstore.history.facts`; this module adds what a file
as a whole says: which thread it is, since when, how damaged, and what earlier explicit edits have
left in the log. Nothing here raises for what a file contains: a thread whose head is damaged is
still a thread.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from threadstore.clock import from_ms, parse_timestamp
from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.history.facts import FactObserver
from threadstore.history.header import HeaderView, read_header
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.usage import UsageLedger
from threadstore.ids import try_thread_id
from threadstore.metadata import StoredThread, ThreadMetadataPatch, source_parent
from threadstore.stores.local import reader
from threadstore.stores.local.lineage import FindRollout, resolve_lineage
from threadstore.stores.local.paths import RolloutFile

__all__ = ["EMPTY", "RECORD_KEY", "Damage", "Derived", "derive"]

EMPTY: Final = "the file is empty"
"""``problem`` of a file that could be read and has no line."""
RECORD_KEY: Final = "threadstore"
"""Key in a ``session_meta`` payload that holds what Codex's format has no place for:
``{"threadstore": {"patch": <ThreadMetadataPatch as JSON>}}``. Codex ignores unknown keys."""

_MAX_DAMAGE: Final = 20
_DEFAULT_SOURCE: Final = "vscode"
"""What a header without ``source`` (before Codex 0.58) and a missing header mean to Codex."""
_FORKS_SHOW_THEIR_OWN: Final = frozenset((0, minor) for minor in range(150, 161))
"""Releases whose paginated forks show their own first message as soon as they have one; 0.169 goes
on showing that of the source."""
_SAID_ONCE: Final = frozenset({"preview", "title", "first_user_message"})
# The first header that has them settles these: later ones are copies of it, or partial.
_HEADER_TEXTS: Final = (
    "cwd",
    "cli_version",
    "model_provider",
    "source",
    "thread_source",
    "agent_nickname",
    "agent_role",
    "agent_path",
    "session_id",
    "forked_from_id",
    "parent_thread_id",
    "originator",
    "creator_user_id",
    "creator_account_id",
)


class Damage(msgspec.Struct, frozen=True, gc=False):
    """A line that could not be read."""

    position: int
    reason: str


class Derived(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What one rollout file says about its thread. JSON-encodable."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    archived: bool
    thread: StoredThread | None
    """The facts of the file alone; ``model_provider`` is empty if it names none. ``None``: nothing
    tells which thread this is."""
    header: bool = False
    """Whether the thread's own ``session_meta`` could be read."""
    said: frozenset[str] = frozenset()
    """Fields that the log really says (the others hold defaults)."""
    git_edited: bool = False
    """Whether a later line says other git facts than the header: only then are edits logged.
    Codex up to 0.121 edits the row alone, and copies the header's facts into later lines."""
    lines: int = 0
    """Lines of the thread's log, inherited ones included."""
    damaged: int = 0
    damage: tuple[Damage, ...] = ()
    """The first damaged lines."""
    problem: str | None = None
    """Why it is not (completely) a thread, for people."""
    incomplete: bool = False
    """Whether it could not be read, or stands on a file that is missing: look again later."""

    def describes(self, file: RolloutFile) -> bool:
        """Whether it was derived from exactly this state of this file."""
        return (self.path, self.size, self.mtime_ns, self.inode, self.archived) == (
            file.path,
            file.size,
            file.mtime_ns,
            file.inode,
            file.archived,
        )


def derive(file: RolloutFile, find_rollout: FindRollout) -> Derived:
    """Read *file* (and what it inherits, found by *find_rollout*) once.

    Raises FileNotFoundError if it is gone. A file that cannot be read is still a thread if its
    name says which; ``problem`` says why the rest is missing.
    """
    fold = _Fold(file)
    try:
        for batch in reader.read_file(file.actual_path):
            fold.add(batch)
            if fold.first is not None and fold.first.history_base is not None:
                fold = _fold_lineage(file, fold.first, find_rollout)
                break
    except StoreUnavailable as error:
        fold.problem, fold.incomplete = str(error), True
    return fold.finish()


def _fold_lineage(file: RolloutFile, header: HeaderView, find_rollout: FindRollout) -> _Fold:
    """Fold a rollout that continues others: the thread's own earlier segments count like its own
    lines (a revert), of another thread's (a fork) only the preview, as Codex 0.169 shows them, and
    the usage. Codex 0.155 and 0.160 show the fork's own first message there, once it has one."""
    fold = _Fold(file)
    lineage = resolve_lineage(file.path, find_rollout)
    missing = next((s.missing for s in lineage.segments if s.missing is not None), None)
    if missing is not None:
        fold.problem, fold.incomplete = missing, True
    own_start = lineage.segments[-1].first_position
    for segment in reversed(lineage.segments[:-1]):
        if _thread_of(segment.path) != header.id:
            break
        own_start = segment.first_position
    if own_start > 1:
        complete = missing is None
        fold.inherit(reader.read_history(file.path, find_rollout), own_start, complete=complete)
        shows_own = _release(header) in _FORKS_SHOW_THEIR_OWN
        fold.observer.preview_seen = "preview" in fold.facts and not shows_own
    for batch in reader.read_history(file.path, find_rollout, after=own_start - 1):
        fold.add(batch)
    return fold


def _release(header: HeaderView) -> tuple[int, ...]:
    numbers = re.match(r"(\d+)\.(\d+)", header.cli_version or "")
    return tuple(map(int, numbers.groups())) if numbers else ()


def _thread_of(path: str) -> str | None:
    try:
        item = reader.read_header(path)
    except (FileNotFoundError, StoreUnavailable):
        return None
    view = read_header(item) if item is not None else None
    return view.id if view is not None else None


class _Fold:
    """The state of one pass."""

    def __init__(self, file: RolloutFile) -> None:
        self.file = file
        self.name_id = file.name.thread_id if file.name is not None else None
        self.thread_id: str | None = None
        self.first: HeaderView | None = None
        self.problem: str | None = None
        self.incomplete = False
        self.facts: dict[str, Any] = {}
        self.observer = FactObserver(self.name_id or "")
        self.git_edited = False
        self.recency: dt.datetime | None = None
        self.stamps: deque[str] = deque(maxlen=8)
        self.ordinal: int | None = None
        self.lines = 0
        self.damaged = 0
        self.damage: list[Damage] = []

    def add(self, batch: Iterable[RolloutItem | DamagedLine]) -> None:
        items: list[RolloutItem] = []
        for entry in batch:
            self.lines = entry.position or self.lines
            if isinstance(entry, DamagedLine):
                self.damaged += 1
                if len(self.damage) < _MAX_DAMAGE:
                    self.damage.append(Damage(entry.position, entry.reason))
                continue
            if entry.timestamp is not None:
                self.stamps.append(entry.timestamp)
            if entry.type == "session_meta":
                self._observe(items)
                items = []
                self._session_meta(entry)
            else:
                items.append(entry)
        if items:
            self.ordinal = items[-1].ordinal
        self._observe(items)

    def inherit(
        self, batches: Iterator[list[RolloutItem | DamagedLine]], end: int, *, complete: bool
    ) -> None:
        """Take preview and usage out of the lines before position *end*. They are *complete* if
        no file is missing."""
        observer = FactObserver(self.name_id or "", ledger=UsageLedger(goes_on=not complete))
        observer.copied.begin()
        for batch in batches:
            items = [
                entry
                for entry in batch
                if isinstance(entry, RolloutItem)
                and (entry.position or 0) < end
                and entry.type != "session_meta"
            ]
            patch = observer.observe_all(items)
            if patch is not None and isinstance(patch.preview, str):
                self.facts["preview"] = patch.preview
            if batch and (batch[-1].position or 0) >= end - 1:
                break
        self.observer.ledger, self.observer.model = observer.ledger, observer.model
        usage = observer.ledger.usage
        if usage is not None:
            self.facts["usage"] = usage

    # Headers

    def _session_meta(self, item: RolloutItem) -> None:
        view = self._view(item)
        if view is None:
            return
        if self.thread_id is None:
            self._name_thread(view)
        header_id = view.id or (self.name_id if self.first is None else None)
        if header_id != self.thread_id:  # a copied header of the thread this one was forked from
            self.observer.cwd_seen = "cwd" in self.facts
            self.observer.thread_id = self.thread_id or ""
            self.observer.copied.foreign_header(item)
            return
        if self.first is not None:
            self.observer.copied.own_header(view)
        else:
            self.first = view
            self.facts["history_mode"] = _history_mode(view, item)
        for field in _HEADER_TEXTS:
            value = getattr(view, field)
            if value:
                self.facts.setdefault(field, value)
        self.observer.cwd_seen = "cwd" in self.facts
        if view.has_git:
            self.git_edited |= view is not self.first and view.git != self.first.git
            self.facts["git"] = view.git
        if view.memory_mode:
            self.facts["memory_mode"] = view.memory_mode
        self._record(item)

    def _view(self, item: RolloutItem) -> HeaderView | None:
        """The header, after the observer has seen the first one: it tells how old the format is."""
        if self.thread_id is None and isinstance(item.payload, dict):
            self.observer.thread_id = try_thread_id(str(item.payload.get("id"))) or ""
            self.observer.observe(item)
            if self.observer.header is not None:
                return self.observer.header
        return read_header(item)

    def _name_thread(self, view: HeaderView) -> None:
        """The first header names the thread, as for Codex, whatever the file is called; unless
        the real header is damaged and this one came with the copied history of a fork."""
        own = view.id or self.name_id
        if self.name_id is not None and own != self.name_id:
            if self.damaged:
                self.problem = f"the header is damaged; the next one belongs to thread {own}"
                own = self.name_id
            else:
                self.problem = f"the header names thread {own}, the file name {self.name_id}"
        self.thread_id = own

    def _record(self, item: RolloutItem) -> None:
        """What an explicit edit has left in the log: wins over everything said before."""
        record = item.payload.get(RECORD_KEY) if isinstance(item.payload, dict) else None
        if not isinstance(record, dict):
            return
        try:
            patch = msgspec.convert(record.get("patch"), ThreadMetadataPatch)
        except (msgspec.ValidationError, InvalidRequest) as error:
            self.problem = f"an explicit edit cannot be read: {error}"
            return
        said = patch.present()
        for field in _SAID_ONCE & said.keys():
            setattr(self.observer, f"{field}_seen", True)
        self.observer.note_usage(said)
        if "updated_at" in said:
            self.stamps.clear()  # the time of the edit itself is not what it says
        self._apply(said)
        self.observer.cwd_seen = "cwd" in self.facts

    # Everything else

    def _observe(self, items: list[RolloutItem]) -> None:
        patch = self.observer.observe_all(items) if items else None
        if patch is not None:
            self._apply(patch.present())

    def _apply(self, said: dict[str, Any]) -> None:
        moment = said.pop("advance_recency_at", None)
        if moment is not None:
            self.recency = moment if self.recency is None else max(self.recency, moment)
        git = said.pop("git", None)
        if git is not None:
            self.facts["git"] = git.apply(self.facts.get("git"))
        self.facts.update(said)

    # The end

    def finish(self) -> Derived:
        thread_id = self.thread_id or self.name_id
        if thread_id is None:
            problem = "neither its name nor a header says which thread it is"
        elif not self.lines:
            problem = EMPTY
        elif self.first is None:
            problem = "the file has no readable header of its thread"
        else:
            problem = None
        return Derived(
            path=self.file.path,
            size=self.file.size,
            mtime_ns=self.file.mtime_ns,
            inode=self.file.inode,
            archived=self.file.archived,
            thread=None if thread_id is None else self._thread(thread_id),
            header=self.first is not None,
            said=frozenset(self.facts),
            git_edited=self.git_edited,
            lines=self.lines,
            damaged=self.damaged,
            damage=tuple(self.damage),
            problem=self.problem or problem,
            incomplete=self.incomplete,
        )

    def _thread(self, thread_id: str) -> StoredThread:
        facts = dict(self.facts)
        created_at = facts.get("created_at") or self._created_at()
        last = next((m for text in reversed(self.stamps) if (m := parse_timestamp(text))), None)
        updated_at = last or facts.get("updated_at") or created_at
        facts.setdefault("model_provider", "")
        if self.first is None and self.ordinal is not None:
            facts["history_mode"] = "paginated"
        facts.setdefault("source", _DEFAULT_SOURCE)
        if not facts.get("parent_thread_id"):
            facts["parent_thread_id"] = source_parent(facts["source"])
        facts.setdefault("session_id", thread_id)
        facts |= {"created_at": created_at, "updated_at": updated_at}
        return StoredThread(
            id=thread_id,
            rollout_path=self.file.path,
            recency_at=self.recency or created_at,
            archived_at=file_time(self.file) if self.file.archived else None,
            **facts,
        )

    def _created_at(self) -> dt.datetime:
        """Without a time in the header: the local time in the file's name, the first line's time,
        and only for a file that says nothing at all the time of its last change."""
        if self.first is not None and self.first.timestamp is not None:
            return self.first.timestamp
        stamp = self.file.name.stamp if self.file.name is not None else None
        if stamp is not None:
            return stamp.astimezone(dt.UTC)
        first = next((m for text in self.stamps if (m := parse_timestamp(text))), None)
        return first or file_time(self.file)


def _history_mode(view: HeaderView, item: RolloutItem) -> str:
    """Of a first header. Lines of paginated threads are numbered: that tells where the word is one
    that nobody knows."""
    if view.history_mode in ("legacy", "paginated"):
        return view.history_mode
    known = view.history_mode is None or item.ordinal is None
    return "legacy" if known else "paginated"


def file_time(file: RolloutFile) -> dt.datetime:
    """When the file was last changed, in milliseconds."""
    return from_ms(file.mtime_ns // 1_000_000)
