"""One metadata change over log record, Codex's database, name index and our list index."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from threadstore.clock import Clock, rfc3339_ms
from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.history.items import RolloutItem
from threadstore.metadata import MetadataOrigin, StoredThread, ThreadMetadataPatch
from threadstore.stores.local import name_index
from threadstore.stores.local.database import LOCKED
from threadstore.stores.local.index_db import IndexDb
from threadstore.stores.local.locks import WriterLock, check_unused
from threadstore.stores.local.lots import Lots
from threadstore.stores.local.merge import explicit_name
from threadstore.stores.local.paths import Home
from threadstore.stores.local.recorder import Recorder
from threadstore.stores.local.state_db import StateDb
from threadstore.stores.local.state_rows import StateRow
from threadstore.stores.local.sync import IndexSync
from threadstore.stores.local.waiting import in_worker
from threadstore.stores.local.writers import LiveWriter, Writers

__all__ = ["MetadataWriter", "metadata_record"]

_PATIENCE: Final = 0.1
"""Seconds that an observation waits for a database that another program has locked."""
_Observation = tuple[StoredThread, ThreadMetadataPatch]
"""A thread after a patch, and the patch."""
_KEPT_IN_RECORD: Final = frozenset({"git", "memory_mode"})


class MetadataWriter:
    """Applies patches to threads of one home, live or cold."""

    def __init__(
        self,
        home: Home,
        writers: Writers,
        state: StateDb | None,
        index: IndexDb,
        sync: IndexSync,
        clock: Clock,
    ) -> None:
        self._home = home
        self._writers = writers
        self._state = state
        self._index = index
        self._sync = sync
        self._clock = clock
        self._observations = Lots(self._write_lot, self._missed)

    async def update(
        self,
        thread_id: str,
        patch: ThreadMetadataPatch,
        origin: MetadataOrigin,
        *,
        include_archived: bool,
    ) -> StoredThread:
        """The contract's ``update_thread_metadata``."""
        async with self._writers.locks.of(thread_id):
            writer = self._writers.find(thread_id)
            if writer is not None and origin is MetadataOrigin.EXPLICIT:
                await self.settle()  # what is said last wins
            if origin is MetadataOrigin.OBSERVED:
                thread = writer.thread if writer else await in_worker(lambda: self._cold(thread_id))
                if patch.name is not UNSET:
                    patch = msgspec.structs.replace(patch, name=UNSET)
                return await self._observe(writer, thread, patch)
            return await in_worker(
                lambda: self._edit(thread_id, writer, patch, include_archived=include_archived)
            )

    def _cold(self, thread_id: str) -> StoredThread:
        thread = self._sync.refresh_thread(thread_id)
        if thread is None:
            raise self._sync.not_found(thread_id)
        return thread

    def _edit(
        self,
        thread_id: str,
        writer: LiveWriter | None,
        patch: ThreadMetadataPatch,
        *,
        include_archived: bool,
    ) -> StoredThread:
        thread = writer.thread if writer else self._cold(thread_id)
        if patch.is_empty():
            return thread
        if thread.archived and not include_archived:
            raise InvalidRequest.archived(thread_id, hint="unarchive it, or say include_archived")
        return self._explicit(writer, thread, patch)

    async def _observe(
        self, writer: LiveWriter | None, thread: StoredThread, patch: ThreadMetadataPatch
    ) -> StoredThread:
        """What history implies: to the row and the index; it waits while there is no history.

        That a live thread was used is the only thing that most turns of it imply, and its log tells
        it too: nobody waits until that is written, unless it could not be written last time.
        """
        touches = patch.only_touches()
        if not touches and patch.is_empty():
            return thread
        after = patch.apply(thread)
        if writer is None:
            await self._observations.add((after, patch))
            return after
        if not writer.materialised:
            writer.waiting = writer.waiting.merge(patch)
        elif touches and writer.waiting.is_empty():
            self._observations.add_later(thread.id, (after, patch))
        else:
            await self._observations.add((after, writer.waiting.merge(patch)))
            writer.waiting = ThreadMetadataPatch()
        writer.thread = after
        return after

    async def settle(self) -> None:
        """Return once everything observed is written, or waits because it cannot be written."""
        await self._observations.settle()

    async def finish(self, writer: LiveWriter) -> None:
        """The thread is about to be let go: write what was observed of it. Never fails."""
        await self.settle()
        if writer.materialised and not writer.waiting.is_empty():
            await self.attach_waiting(writer)

    def _missed(self, observation: _Observation) -> None:
        after, patch = observation
        writer = self._writers.find(after.id)
        if writer is not None:
            writer.waiting = patch.merge(writer.waiting)

    async def attach_waiting(self, writer: LiveWriter) -> None:
        """The thread has its first line now: enter it, with what was observed before.

        History is durable at this point and must not be reported as failed: what cannot be written
        goes on waiting.
        """
        waiting, writer.waiting = writer.waiting, ThreadMetadataPatch()
        try:
            await self._observations.add((writer.thread, waiting))
        except StoreUnavailable as error:
            writer.waiting = waiting
            from logging import getLogger  # here: every start would pay for it

            log = getLogger(__name__)
            log.warning("metadata of thread %s has to wait: %s", writer.thread.id, error)

    def _write_lot(self, lot: Sequence[_Observation]) -> list[StoreUnavailable | None]:
        """Write observations of several threads; what became of each."""
        if not lot:
            return []
        try:
            self._write_observed(lot)
        except StoreUnavailable as error:
            if len(lot) == 1 or isinstance(error.__cause__, LOCKED):
                return [error] * len(lot)
        else:
            return [None] * len(lot)
        return [self._write_lot([one])[0] for one in lot]

    def _write_observed(self, lot: Sequence[_Observation]) -> None:
        """An observation can be made again, so it is in nobody's way: it waits hardly at all."""
        state = self._state
        said = [(after, patch) for after, patch in lot if not patch.is_empty()]
        if state is not None and state.writable and said:
            with state.transaction(patience=_PATIENCE):
                touched = [after for after, patch in said if patch.only_touches()]
                done = {after.id for after in touched} - state.touch(touched)
                for after, patch in said:
                    if after.id not in done:
                        self._write_row(after, patch, MetadataOrigin.OBSERVED)
        self._sync.observed(lot)

    def _explicit(
        self, writer: LiveWriter | None, thread: StoredThread, patch: ThreadMetadataPatch
    ) -> StoredThread:
        after = patch.apply(thread)
        facts = patch.present().keys() - {"name"}
        legacy = thread.history_mode == "legacy"
        record = metadata_record(after, patch) if legacy and facts else None
        state = self._usable_state(needed=bool(facts) and not legacy)
        if state is None and patch.name is not UNSET:
            self._check_row_agrees(after)
        with self._open_log(writer, thread, needed=record is not None) as log:
            row_patch = patch if writer is None else writer.waiting.merge(patch)
            added = self._write_everywhere(state, log, record, after, row_patch)
        if writer is not None:
            writer.waiting = ThreadMetadataPatch()
            writer.thread = after
        with self._sync.following():
            self._sync.change(after, patch, explicit=True)
            if added is not None:
                self._sync.named(added)
        return after

    def _write_everywhere(
        self,
        state: StateDb | None,
        log: Recorder | None,
        record: RolloutItem | None,
        after: StoredThread,
        patch: ThreadMetadataPatch,
    ) -> name_index.Added | None:
        """Log record, row, name index; if one of them fails, none of them.

        Name index and database are locked first, so that where one cannot be written nothing is;
        in this order, because waiting for the index must not keep others from the database. What
        was added to log and name index is undone last: the commit of the row may fail too.
        """
        named = patch.name is not UNSET
        with contextlib.ExitStack() as undone_last:
            add_name = added = None
            if named and after.name:
                add_name = undone_last.enter_context(name_index.adding(self._home))
            with contextlib.nullcontext() if state is None else state.transaction(durable=True):
                undone_last.enter_context(self._logged(log, record))
                if state is not None:
                    self._write_row(after, patch, MetadataOrigin.EXPLICIT, durable=True)
                if add_name is not None:
                    added = add_name(after.id, after.name, self._clock.now())
                elif named:
                    # A blank entry would let Codex's lists show the name before it again.
                    name_index.remove(self._home, [after.id])
        return added

    @contextlib.contextmanager
    def _logged(self, log: Recorder | None, record: RolloutItem | None) -> Iterator[None]:
        """Materialise, add the record, make both durable; the record goes if the block raises."""
        if log is None:
            yield
            return
        log.materialise()
        if record is not None:
            log.append([record.encode(rfc3339_ms(self._clock.now()))])
        try:
            log.sync()
            yield
        except BaseException:
            if record is not None:
                log.take_back()
            raise

    def _usable_state(self, *, needed: bool) -> StateDb | None:
        """The database, if it can be written. A name has the name index and a legacy thread its
        log; a paginated thread has no other place for the rest of what a user says."""
        state = self._state
        if state is not None and state.writable:
            return state
        if not needed:
            return None
        reason = "it is switched off" if state is None else state.reason
        raise StoreUnavailable(
            f"the state database is needed to edit a paginated thread, but {reason}",
            hint="run `threadstore doctor` on this home",
        )

    def _check_row_agrees(self, after: StoredThread) -> None:
        """A row that cannot be written must not say another name: it would win over the index."""
        state = self._state
        if state is None or not state.exists:
            return
        if not state.locked:
            try:
                row = state.read_row(after.id)
            except StoreUnavailable:  # damaged: nobody will read it
                return
            if row is None or _name_in(row, after) == after.name:
                return
        raise StoreUnavailable(
            f"the state database is needed to name thread {after.id}, but {state.reason}",
            hint="try again later, or run `threadstore doctor` on this home",
        )

    @contextlib.contextmanager
    def _open_log(
        self, writer: LiveWriter | None, thread: StoredThread, *, needed: bool
    ) -> Iterator[Recorder | None]:
        """The thread's log; a cold thread's under its writer lock, and only if *needed*."""
        if writer is not None:
            yield writer.recorder
        elif not needed:
            yield None
        else:
            with WriterLock.acquire(self._home, thread.id) as lock:
                check_unused(thread.id, thread.rollout_path or "")
                end = self._sync.log_end(thread.id)
                with contextlib.closing(self._writers.open_log(thread, 0, lock, end)) as log:
                    yield log

    def _write_row(
        self,
        thread: StoredThread,
        patch: ThreadMetadataPatch,
        origin: MetadataOrigin,
        *,
        durable: bool = False,
    ) -> None:
        assert self._state is not None
        assert thread.rollout_path is not None
        self._state.write(thread, patch, origin=origin, path=thread.rollout_path, durable=durable)


def _name_in(row: StateRow, after: StoredThread) -> str | None:
    """The name that will be read while the row stays as it is and the name index says ours."""
    if after.history_mode == "paginated":
        return row.name or after.name
    return explicit_name(msgspec.structs.replace(after, name=None), row, after.name)


def metadata_record(thread: StoredThread, patch: ThreadMetadataPatch) -> RolloutItem:
    """The small ``session_meta`` line of an explicit edit of a legacy thread.

    It repeats what Codex re-applies from every such line, the whole git object and the memory mode,
    but no base instructions: Codex 0.131 and 0.169 keep the first ones. What their format has no
    place for stands under ``threadstore``, a key they ignore.
    """
    payload: dict[str, Any] = {
        "session_id": thread.session_id or thread.id,
        "id": thread.id,
        "timestamp": rfc3339_ms(thread.created_at),
        "cwd": thread.cwd,
        "originator": thread.originator or "threadstore",
        "cli_version": thread.cli_version,
        "source": thread.source,
        "thread_source": thread.thread_source,
        "agent_nickname": thread.agent_nickname,
        "agent_role": thread.agent_role,
        "agent_path": thread.agent_path,
        "model_provider": thread.model_provider,
        "memory_mode": thread.memory_mode,
        "history_mode": thread.history_mode,
    }
    payload = {key: value for key, value in payload.items() if value is not None}
    if thread.git is not None or patch.git is not UNSET:
        payload["git"] = _git_object(thread)
    rest = {key: value for key, value in patch.present().items() if key not in _KEPT_IN_RECORD}
    rest.pop("name", None)
    if rest:
        extra = msgspec.to_builtins(ThreadMetadataPatch(**rest))
        payload["threadstore"] = {"patch": extra}
    return RolloutItem("session_meta", payload)


def _git_object(thread: StoredThread) -> dict[str, str]:
    git = thread.git
    if git is None:
        return {}
    known = {"commit_hash": git.sha, "branch": git.branch, "repository_url": git.origin_url}
    return {key: value for key, value in known.items() if value is not None}
