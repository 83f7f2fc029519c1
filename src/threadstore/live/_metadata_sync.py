"""What a live thread's history implies for its metadata, and when it is written.

Pure bookkeeping: this module knows the decision table of ``history.facts`` and the clock, never a
store. Its owner calls it under the thread's lock, so a taken patch is applied or not before the
next observation; nothing needs to be versioned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.history.facts import FactObserver
from threadstore.history.header import HeaderView
from threadstore.history.policy import any_affects_metadata
from threadstore.history.usage import UsageLedger
from threadstore.metadata import GitInfoPatch, ThreadMetadataPatch, is_subagent

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from threadstore.clock import Clock
    from threadstore.history.items import RolloutItem
    from threadstore.metadata import StoredThread

__all__ = ["TOUCH_INTERVAL", "ThreadMetadataSync"]

TOUCH_INTERVAL: Final = 5.0
"""Seconds within which appends that imply nothing write "updated at" only once (Codex 0.131)."""

# What one turn context says belongs together: the rest is recovered only along with the model.
_TURN_FACTS: Final = ("model", "reasoning_effort", "approval_mode", "sandbox_policy")
_BEGINNER: Final = ("originator", "creator_user_id", "creator_account_id")
_COUNTERS: Final = ("token_usage", "usage")
_FIRST_FACTS: Final = ("preview", "title", "first_user_message", "cwd")


class ThreadMetadataSync:
    """The pending observed patch of one thread.

    Observed facts wait until history exists (*idle* until then), go out with the append that
    implied them, and stay pending until somebody says that they were applied.
    """

    def __init__(
        self,
        stored: StoredThread,
        clock: Clock,
        *,
        pending: ThreadMetadataPatch | None,
    ) -> None:
        self._stored = stored
        self._clock = clock
        self._observer = FactObserver(
            stored.id,
            cwd_seen=bool(stored.cwd),
            preview_seen=bool(stored.preview),
            first_user_message_seen=stored.first_user_message is not None,
            title_seen=bool(stored.title),
            model=stored.model,
            ledger=UsageLedger(stored.usage, stored.token_usage),
        )
        self._facts = pending
        self._touched_at: dt.datetime | None = None
        self._newest = stored.updated_at
        self._last_touch: float | None = None
        self._idle = True
        self._copied_next = False

    @classmethod
    def for_create(cls, stored: StoredThread, clock: Clock) -> ThreadMetadataSync:
        """Of a new thread: everything known about it is pending until its history exists."""
        return cls(stored, clock, pending=_initial_patch(stored))

    @classmethod
    def for_resume(cls, stored: StoredThread, clock: Clock) -> ThreadMetadataSync:
        """Of a thread with history: nothing is pending, what is stored is never derived again."""
        sync = cls(stored, clock, pending=None)
        header = HeaderView(timestamp=stored.created_at)
        sync._observer.begun = True  # a header that is appended now is a later copy
        sync._observer.copied.own_header(header)
        return sync

    @property
    def lacks_facts(self) -> bool:
        """Whether history may hold facts that metadata misses (a write that never happened).

        Never of a child: the first facts in its history are those of the items it inherited.
        """
        stored = self._stored
        if stored.parent_thread_id is not None or is_subagent(stored.source):
            return False
        known = (stored.preview, stored.title, stored.first_user_message, stored.model)
        total = stored.token_usage
        # Metadata of threadstore before it counted usage.
        uncounted = stored.usage is None and total is not None and bool(total.output_tokens)
        return uncounted or not all(known)

    def recover(
        self, observed: ThreadMetadataPatch, *, own: bool = True, copied: bool = False
    ) -> None:
        """Keep what *observed*, the facts of the history so far, adds to the stored metadata.

        Only gaps are filled, so nothing that was written while the thread was cold is overwritten
        and nothing that was cleared comes back. It goes out after the next append. If the history
        is not the thread's *own*, who began it says nothing about this thread, and what it used is
        inherited. *copied*: it is appended next, as one batch, and its usage counted then.
        """
        fields = observed.present()
        if not own:
            fields = {field: fields[field] for field in fields if field not in _BEGINNER}
            if "usage" in fields:
                fields["usage"] = fields["usage"].as_inherited()
        if copied:
            fields.pop("usage", None)
            self._observer.copied.begin()
            self._copied_next = True
        gaps = _gaps(self._stored, fields)
        self.note_explicit(gaps)
        if not gaps.is_empty():
            self._facts = gaps if self._facts is None else self._facts.merge(gaps)

    def inherit(self, items: Sequence[RolloutItem]) -> None:
        """Take in what a child took over from its parent: of all facts only what that used."""
        observer = FactObserver(self._stored.id)
        observer.copied.begin()
        observer.observe_all(items)
        self._observer.ledger = observer.ledger
        usage = observer.ledger.usage
        if usage is not None:
            facts = ThreadMetadataPatch(usage=usage)
            self._facts = facts if self._facts is None else self._facts.merge(facts)

    def history_exists(self) -> None:
        """Say that the thread's first byte is durable: what waited for it may go out."""
        self._idle = False

    def observe(self, items: Sequence[RolloutItem]) -> ThreadMetadataPatch | None:
        """Take in *items*, which are durable now; the patch to write, or ``None`` if none is due.

        Items that imply nothing only touch "updated at", which is due every ``TOUCH_INTERVAL``.
        """
        self._idle = False
        # Not before the last time, also where the clock was put back.
        now = self._touched_at = self._newest = max(self._clock.now(), self._newest)
        if any_affects_metadata(items):
            facts = self._observer.observe_all(items, now=now)
            if facts is not None:
                self._facts = facts if self._facts is None else self._facts.merge(facts)
            if self._copied_next:
                self._copied_next = False
                self._observer.copied.end()
        elif self._facts is None and not self._touch_due():
            return None
        return self._pending()

    def take(self, *, idle: bool = False) -> ThreadMetadataPatch | None:
        """The pending patch, which stays pending; ``None`` if there is none.

        While nothing was appended through this handle there is none unless *idle*.
        """
        return None if self._idle and not idle else self._pending()

    def mark_applied(self) -> None:
        """Say that the store has the patch that was taken last."""
        if self._touched_at is not None:
            self._last_touch = self._clock.monotonic()
        self._facts = self._touched_at = None

    def note_explicit(self, patch: ThreadMetadataPatch) -> None:
        """What *patch* sets is known now: history does not derive it a first time any more."""
        fields = patch.present()
        for field in _FIRST_FACTS:
            if fields.get(field):
                setattr(self._observer, f"{field}_seen", True)
        self._observer.note_usage(fields)

    def _touch_due(self) -> bool:
        last = self._last_touch
        return last is None or self._clock.monotonic() - last >= TOUCH_INTERVAL

    def _pending(self) -> ThreadMetadataPatch | None:
        if self._touched_at is None:
            return self._facts
        if self._facts is None:
            return ThreadMetadataPatch(updated_at=self._touched_at)
        return msgspec.structs.replace(self._facts, updated_at=self._touched_at)


def _initial_patch(stored: StoredThread) -> ThreadMetadataPatch:
    """Everything a new thread starts with; agent facts are present even where there are none."""
    fields: dict[str, Any] = {}
    if stored.git is not None:
        fields["git"] = GitInfoPatch(
            sha=stored.git.sha, branch=stored.git.branch, origin_url=stored.git.origin_url
        )
    if stored.memory_mode in ("enabled", "disabled"):
        fields["memory_mode"] = stored.memory_mode
    if stored.originator is not None:
        fields["originator"] = stored.originator
    return ThreadMetadataPatch(
        created_at=stored.created_at,
        updated_at=stored.created_at,
        cwd=stored.cwd,
        model_provider=stored.model_provider,
        cli_version=stored.cli_version,
        source=stored.source,
        thread_source=stored.thread_source,
        agent_nickname=stored.agent_nickname,
        agent_role=stored.agent_role,
        agent_path=stored.agent_path,
        **fields,
    )


def _gaps(stored: StoredThread, observed: dict[str, Any]) -> ThreadMetadataPatch:
    """The part of *observed* that *stored* has no value for, cleared values left alone."""
    wanted = [field for field in _FIRST_FACTS if not getattr(stored, field)]
    if stored.model is None:
        wanted += [*_TURN_FACTS, "permission_profile"]
    wanted += [field for field in (*_COUNTERS, *_BEGINNER) if getattr(stored, field) is None]
    recency = observed.get("advance_recency_at")
    if recency is not None and recency > stored.recency_at:
        wanted.append("advance_recency_at")
    return ThreadMetadataPatch(**{field: observed[field] for field in wanted if field in observed})
