"""One pass over the lines of a thread: what they say, and how to go on from there later."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any, Final, Self

import msgspec

from threadstore.clock import from_ms, parse_timestamp
from threadstore.errors import InvalidRequest
from threadstore.history.facts import FactObserver, ObserverState
from threadstore.history.header import HeaderView, read_header
from threadstore.history.items import DamagedLine, RolloutItem
from threadstore.history.lines import Entry
from threadstore.history.usage import UsageLedger
from threadstore.metadata import GitInfo, StoredThread, ThreadMetadataPatch, source_parent
from threadstore.stores.local.paths import RolloutFile

__all__ = ["RECORD_KEY", "Damage", "Fold", "FoldState"]

RECORD_KEY: Final = "threadstore"
"""Key in a ``session_meta`` payload that holds what Codex's format has no place for:
``{"threadstore": {"patch": <ThreadMetadataPatch as JSON>}}``. Codex ignores unknown keys."""

_MAX_DAMAGE: Final = 20
_DEFAULT_SOURCE: Final = "vscode"
"""What a header without ``source`` (before Codex 0.58) and a missing header mean to Codex."""
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


class FoldState(msgspec.Struct, array_like=True, kw_only=True):
    """What a pass knows beside its facts; those are in the thread that it has made."""

    thread_id: str | None
    position: int
    problem: str | None
    recency: dt.datetime | None
    updated_at: dt.datetime | None
    """That an edit has set, whatever the stamps say."""
    last: dt.datetime | None
    earliest: dt.datetime | None
    ordinal: int | None
    began: dt.datetime | None
    """The time in the thread's own first header; below, the git facts there."""
    git: GitInfo | None
    observer: ObserverState


class Fold:
    """The state of one pass over the lines of *file*, and of those that it inherits."""

    def __init__(self, file: RolloutFile) -> None:
        self.file = file
        self.name_id = file.name.thread_id if file.name is not None else None
        self.thread_id: str | None = None
        self.first: HeaderView | None = None
        """The thread's own first header."""
        self.problem: str | None = None
        self.incomplete = False
        self.facts: dict[str, Any] = {}
        self.observer = FactObserver(self.name_id or "")
        self.git_edited = False
        self.recency: dt.datetime | None = None
        self.last: dt.datetime | None = None
        """The newest time that a line says, in their order; below, the first one, where the name
        of the file says none."""
        self.earliest: dt.datetime | None = None
        self.ordinal: int | None = None
        self.position = 0
        """Of the last line that is not blank."""
        self.damaged = 0
        self.damage: list[Damage] = []
        self.marks = b""
        """See :attr:`~threadstore.stores.local.derive.Derived.marks`."""

    def state(self) -> FoldState:
        """What :meth:`restore` needs. Shares what changes: encode it before going on."""
        return FoldState(
            thread_id=self.thread_id,
            position=self.position,
            problem=self.problem,
            recency=self.recency,
            updated_at=self.facts.get("updated_at"),
            last=self.last,
            earliest=self.earliest,
            ordinal=self.ordinal,
            began=self.first.timestamp if self.first is not None else None,
            git=self.first.git if self.first is not None else None,
            observer=self.observer.state(),
        )

    @classmethod
    def restore(
        cls, file: RolloutFile, state: FoldState, facts: dict[str, Any], *, header: bool
    ) -> Self:
        """A pass that goes on where another one stood that had found *facts*."""
        fold = cls(file)
        for field in ("thread_id", "position", "problem", "recency", "last", "earliest", "ordinal"):
            setattr(fold, field, getattr(state, field))
        if "updated_at" in facts:
            facts["updated_at"] = state.updated_at
        fold.facts = facts
        fold.observer = FactObserver.restore(state.observer, facts.get("usage"))
        if header:
            fold.first = HeaderView(timestamp=state.began, git=state.git)
        return fold

    def add(self, entries: list[Entry]) -> None:
        """Take in the next lines."""
        items: list[RolloutItem] = []
        for entry in entries:
            if isinstance(entry, DamagedLine):
                self.damaged += 1
                if len(self.damage) < _MAX_DAMAGE:
                    self.damage.append(Damage(entry.position, entry.reason))
            elif entry.type == "session_meta":
                self._observe(items)
                items = []
                self._session_meta(entry)
            else:
                items.append(entry)
        self._observe(items)
        if entries:
            self.position = entries[-1].position or self.position

    def inherit(self, batches: Iterable[list[Entry]], *, complete: bool) -> None:
        """Take preview and usage out of lines of another thread; *complete*: of all there were."""
        observer = FactObserver(self.name_id or "", ledger=UsageLedger(goes_on=not complete))
        observer.copied.begin()
        for batch in batches:
            items = (entry for entry in batch if isinstance(entry, RolloutItem))
            said = observer.gather(item for item in items if item.type != "session_meta")
            if "preview" in said:
                self.facts["preview"] = said["preview"]
        self.observer.ledger, self.observer.model = observer.ledger, observer.model
        usage = observer.ledger.usage
        if usage is not None:
            self.facts["usage"] = usage

    # Headers

    def _session_meta(self, item: RolloutItem) -> None:
        self._note_time([item])
        view = read_header(item)
        if view is None:
            return
        first = self.thread_id is None
        if first:
            self._name_thread(view)
            self.observer.thread_id = view.id or ""
            if view.id is not None:
                self.observer.own_header(item, view)
        header_id = view.id or (self.name_id if self.first is None else None)
        if header_id != self.thread_id:  # a copied header of the thread this one was forked from
            self.observer.cwd_seen = "cwd" in self.facts
            self.observer.thread_id = self.thread_id or ""
            self.observer.copied.foreign_header(item)
            return
        if self.first is None:
            self.first = view
            self.facts["history_mode"] = _history_mode(view, item)
        else:
            self.observer.copied.own_header(view)
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
            self.last = None  # the time of the edit itself is not what it says
        self._apply(said)
        self.observer.cwd_seen = "cwd" in self.facts

    # Everything else

    def _observe(self, items: list[RolloutItem]) -> None:
        if items:
            self.ordinal = items[-1].ordinal
            self._note_time(items)
            self._apply(self.observer.gather(items))

    def _note_time(self, items: list[RolloutItem]) -> None:
        moments = (parse_timestamp(item.timestamp) for item in reversed(items))
        self.last = next(filter(None, moments), self.last)
        if self.earliest is None and (self.file.name is None or self.file.name.stamp is None):
            moments = (parse_timestamp(item.timestamp) for item in items)
            self.earliest = next(filter(None, moments), None)

    def _apply(self, said: dict[str, Any]) -> None:
        moment = said.pop("advance_recency_at", None)
        if moment is not None:
            self.recency = moment if self.recency is None else max(self.recency, moment)
        git = said.pop("git", None)
        if git is not None:
            self.facts["git"] = git.apply(self.facts.get("git"))
        self.facts.update(said)

    # The end

    def thread(self, thread_id: str) -> StoredThread:
        """The thread, as far as the lines say."""
        facts = dict(self.facts)
        created_at = facts.get("created_at") or self._created_at()
        updated_at = self.last or facts.get("updated_at") or created_at
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
        return self.earliest or file_time(self.file)


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
