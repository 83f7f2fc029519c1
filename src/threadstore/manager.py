"""One entry point for all threads of a store, loaded or not."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, TypeVar, overload

import msgspec

from threadstore.clock import Clock, SystemClock, floor_ms
from threadstore.errors import Conflict, InvalidRequest, StoreUnavailable, ThreadNotFound
from threadstore.ids import new_thread_id, parse_thread_id
from threadstore.live._fork import ForkPoint, fork_thread
from threadstore.live.ephemeral import EphemeralThread
from threadstore.live.thread import LiveThread
from threadstore.metadata import MetadataOrigin, NewThread, ThreadMetadataPatch, thread_of
from threadstore.queries import ThreadQuery
from threadstore.store import check_class
from threadstore.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from types import TracebackType

    from threadstore.history.items import RolloutItem
    from threadstore.metadata import StoredThread
    from threadstore.queries import ThreadPage
    from threadstore.search import OccurrencePage, SearchPage, SearchQuery
    from threadstore.store import ThreadStore

__all__ = ["ThreadHandle", "ThreadManager"]

ThreadHandle: TypeAlias = LiveThread | EphemeralThread
Handle = TypeVar("Handle", LiveThread, EphemeralThread)

_LIST_STATE = ("name", "memory_mode")


class ThreadManager:
    """Loaded and cold threads of one store; callers never ask which of the two a thread is.

    Does not own the store: open it before and close it after. As an async context manager it shuts
    all loaded threads down at the end. Calls about one thread take turns, so nothing happens
    between looking whether a thread is loaded and acting on it; changes of what lists show (name,
    memory mode, archive, unarchive, delete) take turns among all threads.
    """

    def __init__(self, store: ThreadStore, *, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._loaded: dict[str, ThreadHandle] = {}
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._list_state = asyncio.Lock()
        self._closed = False

    @property
    def store(self) -> ThreadStore:
        """The store, for reading: it knows live threads as well."""
        return self._store

    # Opening

    @overload
    async def create(
        self,
        new: NewThread,
        *,
        ephemeral: Literal[False] = False,
        inherited: Sequence[RolloutItem] = (),
    ) -> LiveThread: ...

    @overload
    async def create(
        self,
        new: NewThread,
        *,
        ephemeral: Literal[True],
        inherited: Sequence[RolloutItem] = (),
    ) -> EphemeralThread: ...

    async def create(
        self, new: NewThread, *, ephemeral: bool = False, inherited: Sequence[RolloutItem] = ()
    ) -> ThreadHandle:
        """A new thread. A child names its parent in ``new.parent_thread_id`` or its source.

        *inherited* items come from the parent and imply nothing for the child's metadata. An
        *ephemeral* thread is known to this manager only and never reaches the store.
        """
        check_class(new, NewThread)
        thread_id = new_thread_id() if new.id is None else parse_thread_id(new.id)
        new = msgspec.structs.replace(new, id=thread_id)
        async with self._turn(thread_id):
            self._check_open()
            if thread_id in self._handles():
                raise Conflict.exists(thread_id)
            if ephemeral:
                return await self._load(EphemeralThread(self._unstored(new), inherited))
            return await self._load(
                await LiveThread.create(self._store, new, clock=self._clock, inherited=inherited)
            )

    async def resume(self, thread_id: str) -> ThreadHandle:
        """The thread's handle: the one that is loaded, else a new one.

        Raises what ``resume_thread`` of the store raises.
        """
        thread_id = parse_thread_id(thread_id)
        async with self._turn(thread_id):
            self._check_open()
            handle = self._handles().get(thread_id)
            if isinstance(handle, LiveThread) and not await handle.is_live():
                handle = None  # somebody was shutting it down
            if handle is None:
                live = await LiveThread.resume(self._store, thread_id, clock=self._clock)
                handle = await self._load(live)
            return handle

    async def fork(
        self,
        thread_id: str,
        new: NewThread | None = None,
        *,
        cwd: str | None = None,
        through_turn: str | None = None,
        before_turn: str | None = None,
    ) -> LiveThread:
        """A new, durable thread that continues the history of another; it is loaded.

        Takes all of the history, or ends it after *through_turn* or before *before_turn*. *new*
        describes the fork (``None``: like its source, but under a new id), *cwd* overrides its
        working directory. The fork starts with the source's explicit name. Where the store can, it
        refers to the source's history; else it has a copy, line by line. If anything fails, nothing
        of it remains.

        Raises :class:`ThreadNotFound`, and :class:`InvalidRequest` if the source has no history or
        no such turn, or the turn is in progress.
        """
        thread_id = parse_thread_id(thread_id)
        self._refuse_ephemeral(thread_id, "forked")
        if new is not None:
            check_class(new, NewThread)
        new_id = new_thread_id() if new is None or new.id is None else parse_thread_id(new.id)
        async with self._turn(new_id):
            self._check_open()
            if new_id in self._handles():
                raise Conflict.exists(new_id)
            fork = await fork_thread(
                self._store,
                thread_id,
                new,
                ForkPoint(through_turn=through_turn, before_turn=before_turn),
                new_id=new_id,
                cwd=cwd,
                clock=self._clock,
                running=thread_id in self._handles(),
            )
            return await self._load(fork)

    # Finding

    def get(self, thread_id: str) -> ThreadHandle | None:
        """The handle of a loaded thread, else ``None``."""
        return self._handles().get(parse_thread_id(thread_id))

    def loaded(self) -> tuple[str, ...]:
        """The ids of all loaded threads, in the order of loading."""
        return tuple(self._handles())

    async def read(self, thread_id: str) -> StoredThread:
        """The metadata of any thread, ephemeral and archived ones included."""
        handle = self.get(thread_id)
        return await (self._store.read_thread(thread_id) if handle is None else handle.read())

    async def list_threads(self, query: ThreadQuery | None = None) -> ThreadPage:
        """A page of the store's threads; ephemeral ones are in no list."""
        return await self._store.list_threads(query)

    async def search_threads(self, query: SearchQuery) -> SearchPage:
        """A page of the store's threads that have what is searched for; not ephemeral ones."""
        return await self._store.search_threads(query)

    async def search_occurrences(
        self,
        thread_id: str,
        query: SearchQuery,
        *,
        cursor: str | None = None,
        limit: int = 25,
        descending: bool = False,
    ) -> OccurrencePage:
        """A page of the places in one thread; see ``search_occurrences`` of the store."""
        return await self._store.search_occurrences(
            thread_id, query, cursor=cursor, limit=limit, descending=descending
        )

    # Changing

    async def update_thread_metadata(
        self, thread_id: str, patch: ThreadMetadataPatch, *, include_archived: bool = False
    ) -> StoredThread:
        """Apply what a user or caller says, to a loaded or a cold thread alike.

        Raises what ``update_thread_metadata`` of the store raises, and :class:`InvalidRequest` for
        an ephemeral thread.
        """
        thread_id = parse_thread_id(thread_id)
        check_class(patch, ThreadMetadataPatch)
        async with AsyncExitStack() as turns:
            if any(field in patch.present() for field in _LIST_STATE):
                await turns.enter_async_context(self._list_state)
            await turns.enter_async_context(self._turn(thread_id))
            self._check_open()
            handle = self._handles().get(thread_id)
            if handle is not None:
                try:
                    return await handle.update_metadata(patch)
                except ThreadNotFound:
                    if not handle.closed:
                        raise
            return await self._store.update_thread_metadata(
                thread_id,
                patch,
                origin=MetadataOrigin.EXPLICIT,
                include_archived=include_archived,
            )

    async def archive(self, thread_id: str) -> tuple[str, ...]:
        """Archive a thread and the threads it spawned; the ids, root first.

        Loaded ones are shut down first; the thread itself is materialised before. Raises what
        ``archive_thread`` of the store raises.
        """
        thread_id = parse_thread_id(thread_id)
        self._refuse_ephemeral(thread_id, "archived")
        async with self._unloading(thread_id) as root:
            if root is not None:
                await root.persist()
                await root.shutdown()
            return await self._store.archive_thread(thread_id)

    async def unarchive(self, thread_id: str) -> tuple[str, ...]:
        """Bring a thread and its archived descendants back; the ids, root first."""
        thread_id = parse_thread_id(thread_id)
        self._refuse_ephemeral(thread_id, "unarchived")
        async with self._list_state, self._turn(thread_id):
            self._check_open()
            return await self._store.unarchive_thread(thread_id)

    async def delete(self, thread_id: str) -> tuple[str, ...]:
        """Delete a thread and the threads it spawned; the ids, root first.

        Loaded ones are shut down first. Raises what ``delete_thread`` of the store raises.
        """
        thread_id = parse_thread_id(thread_id)
        handle = self._handles().get(thread_id)
        if isinstance(handle, EphemeralThread):
            await handle.shutdown()
            return (thread_id,)
        async with self._unloading(thread_id) as root:
            if root is not None:
                await root.shutdown()
            try:
                return await self._store.delete_thread(thread_id)
            except ThreadNotFound:
                if root is None:
                    raise
                return (thread_id,)  # it never had a history, and went with its writer

    # Closing

    async def unload(self, thread_id: str) -> None:
        """Shut a loaded thread down; it stays in the store. Not loaded: returns."""
        thread_id = parse_thread_id(thread_id)
        async with self._turn(thread_id):
            handle = self._handles().get(thread_id)
            if handle is not None:
                await handle.shutdown()

    async def close(self) -> None:
        """Shut every loaded thread down, all of them even if one fails. Twice is once.

        Raises the first failure; threads that could not be flushed stay loaded, and the call can
        be repeated.
        """
        self._closed = True
        handles = list(self._handles().values())
        results = await asyncio.gather(
            *(handle.shutdown() for handle in handles), return_exceptions=True
        )
        for result in results:
            if result is not None:
                raise result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # In private

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("the thread manager is closed")

    async def _load(self, handle: Handle) -> Handle:
        if self._closed:  # while it was being opened
            await handle.shutdown()
            self._check_open()
        self._loaded[handle.id] = handle
        return handle

    def _handles(self) -> dict[str, ThreadHandle]:
        """The loaded threads. Their owners may have closed some of them directly."""
        for thread_id in [key for key, handle in self._loaded.items() if handle.closed]:
            del self._loaded[thread_id]
        return self._loaded

    def _turn(self, thread_id: str) -> asyncio.Lock:
        """What calls about one thread take turns with; it lives as long as somebody waits."""
        return self._turns.setdefault(thread_id, asyncio.Lock())

    def _unstored(self, new: NewThread) -> StoredThread:
        assert new.id is not None
        return thread_of(
            new,
            thread_id=new.id,
            created_at=floor_ms(self._clock.now()),
            cli_version=VERSION,
            model_provider="openai",
        )

    def _refuse_ephemeral(self, thread_id: str, what: str) -> None:
        if isinstance(self._handles().get(thread_id), EphemeralThread):
            raise InvalidRequest(f"an ephemeral thread cannot be {what}: {thread_id}")

    @asynccontextmanager
    async def _unloading(self, thread_id: str) -> AsyncIterator[LiveThread | None]:
        """Keep a thread and all it spawned from being loaded; its descendants are shut down.

        Yields the thread's own handle if it is loaded.
        """
        async with AsyncExitStack() as turns:
            await turns.enter_async_context(self._list_state)
            for member in sorted(await self._family(thread_id)):
                await turns.enter_async_context(self._turn(member))
            self._check_open()
            handles = self._handles()
            for member in await self._family(thread_id) - {thread_id}:
                if member in handles:
                    await handles[member].shutdown()
            root = handles.get(thread_id)
            yield root if isinstance(root, LiveThread) else None

    async def _family(self, thread_id: str) -> set[str]:
        """The ids of a thread and of all it spawned, directly or not, loaded ones included."""
        family = {thread_id}
        query: ThreadQuery | None = ThreadQuery(ancestor_id=thread_id, archived=None, limit=1000)
        while query is not None:
            page = await self._store.list_threads(query)
            family |= {thread.id for thread in page.items}
            cursor = page.next_cursor
            query = None if cursor is None else msgspec.structs.replace(query, cursor=cursor)
        return _with_children(family, self._handles().values())


def _with_children(family: set[str], handles: Iterable[ThreadHandle]) -> set[str]:
    """*family* and the loaded threads that descend from it; without history no list has them."""
    children = [handle for handle in handles if handle.parent_thread_id in family]
    added = {handle.id for handle in children} - family
    return _with_children(family | added, handles) if added else family
