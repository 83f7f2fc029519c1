"""The app server: one manager, many clients, and the threads that they have open."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakValueDictionary

import msgspec

from threadstore.appserver.access import Access, Allowance
from threadstore.appserver.errors import invalid_params, rpc_error, unknown_method
from threadstore.appserver.following import FollowedThread
from threadstore.appserver.handlers import (
    changing,
    opening,
    reading,
    searching,
    surroundings,
    turns,
)
from threadstore.appserver.loaded import LoadedThread, opened
from threadstore.appserver.peers import Peer
from threadstore.appserver.preparing import Preparation
from threadstore.errors import Conflict, ThreadNotFound, ThreadStoreError
from threadstore.ids import try_thread_id
from threadstore.jsonrpc import (
    Call,
    Dispatcher,
    InvalidRequest,
    Overloaded,
    RequestCancelled,
)
from threadstore.protocol.codex_thread import protocol_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence

    from threadstore.appserver.audience import OpenThread
    from threadstore.appserver.config import Provider, ServerConfig
    from threadstore.engine import Model, Session, SessionSettings, Tool
    from threadstore.history.turns import StoredTurn
    from threadstore.jsonrpc import Connection
    from threadstore.manager import ThreadManager
    from threadstore.metadata import StoredThread

__all__ = ["AppServer"]

Json = dict[str, Any]
P = TypeVar("P")

_IDS: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class AppServer:
    """Answers Codex's v2 methods. Handlers validate and map; manager and sessions do the work.

    Give :attr:`dispatcher` and :meth:`session` to a ``jsonrpc.Server``, and :meth:`close` it before
    the manager.
    """

    def __init__(
        self,
        manager: ThreadManager,
        config: ServerConfig,
        *,
        models: Callable[[Provider], Model] | None = None,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        access: Access | None = None,
    ) -> None:
        """*models* makes the client of a provider; *tools* are offered in every thread; *access*
        says what clients may do, by default what the user who runs the server may."""
        self.manager = manager
        self.config = config
        self.tools = tuple(tools)
        self.access = access or Access()
        self.loaded: dict[str, OpenThread] = {}
        self.peers: dict[Connection, Peer] = {}
        self._models = models or _openai_model
        self._clients: dict[str, Model] = {}
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closing: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.searching = Preparation(manager.store.prepare_search)
        """What searches need."""
        self.dispatcher = Dispatcher(
            guard=self._guard, unknown=unknown_method, invalid=invalid_params
        )
        for handlers in (opening, reading, searching, changing, turns, surroundings):
            handlers.register(self)
        self.dispatcher.notification("initialized", _nothing, msgspec.Raw)

    # Handlers

    def method(
        self,
        name: str,
        handler: Callable[[AppServer, Call, P], Awaitable[object]],
        params: type[P],
        *,
        missing: str = "thread not found: {id}",
    ) -> None:
        """Have *handler* answer *name*; *missing* is what the error for an unknown thread says."""

        async def answer(call: Call, given: P) -> object:
            try:
                return await handler(self, call, given)
            except ThreadStoreError as error:
                raise rpc_error(error, missing) from error

        self.dispatcher.method(name, answer, params)

    def peer(self, call: Call) -> Peer:
        """Who asks."""
        return self.peers[call.connection]

    @asynccontextmanager
    async def session(self, connection: Connection) -> AsyncIterator[Peer]:
        """Around a connection: whoever goes leaves all threads."""
        peer = self.peers[connection] = Peer(connection, Allowance(self.access.requests_per_second))
        try:
            yield peer
        finally:
            del self.peers[connection]
            for thread in list(self.loaded.values()):
                thread.leave(peer)

    def tell_all(self, method: str, params: Json) -> None:
        """Tell every client."""
        for peer in self.peers.values():
            peer.tell(method, params)

    # Threads

    def client_of(self, provider_id: str) -> Model:
        """The client of a model provider; of the default one if nobody knows that id."""
        known = {provider.id: provider for provider in self.config.providers}
        provider = known.get(provider_id, self.config.provider)
        if provider.id not in self._clients:
            self._clients[provider.id] = self._models(provider)
        return self._clients[provider.id]

    def opening(self, thread_id: str) -> asyncio.Lock:
        """What those who open or close the same thread take turns with."""
        return self._opening.setdefault(thread_id, asyncio.Lock())

    def keep(self, session: Session, *, ephemeral: bool = False) -> LoadedThread:
        """Take a session up among those that clients can follow."""
        thread = LoadedThread(session, ephemeral=ephemeral, released=self._release)
        self.loaded[session.id] = thread
        return thread

    async def open(self, thread_id: str, settings: SessionSettings) -> OpenThread:
        """The thread, loaded; *settings* count if it was not. Call it under :meth:`opening`.

        A thread that is written elsewhere is followed.
        """
        thread = self.loaded.get(thread_id)
        if thread is not None:
            return thread
        try:
            thread = self.keep(await self._resumed(thread_id, settings))
        except Conflict as error:
            if error.holder is None or not self.manager.store.capabilities.watch_thread:
                raise
            thread = self.loaded[thread_id] = await self._followed(thread_id, settings)
        self.tell_all("thread/status/changed", {"threadId": thread_id, "status": thread.status})
        return thread

    async def writer(self, given: str) -> LoadedThread:
        """The loaded thread, to change it; :class:`ThreadNotFound` if it is not loaded.

        A thread that was followed is taken over; :class:`Conflict` names its writer if that is
        still there.
        """
        thread_id = self.thread_id(given)
        async with self.opening(thread_id):
            if isinstance(thread := self.loaded.get(thread_id), FollowedThread):
                from threadstore.engine.journal import uninterrupted

                await uninterrupted(self._take_over(thread))
            thread = self.loaded.get(thread_id)
        if not isinstance(thread, LoadedThread):
            raise ThreadNotFound(thread_id)
        return thread

    def thread_id(self, given: str) -> str:
        """A thread id in its canonical form; the protocol's error if it is none."""
        thread_id = try_thread_id(given)
        if thread_id is None:
            raise InvalidRequest(f"invalid thread id: {given}")
        return thread_id

    async def named(self, given: str, path: str | None) -> str:
        """The id of the thread that a client names: by the *path* of its log, else by its id.

        Codex reads whatever is at that path. Here nobody looks at it: it must be the one that the
        store says of a thread.
        """
        if not path:
            return self.thread_id(given)
        for word in _IDS.findall(os.path.basename(path)):
            with suppress(ThreadNotFound):
                stored = await self.manager.read(word)
                if stored.rollout_path == path:
                    return stored.id
        raise InvalidRequest("no thread of this store is at that path: name it by its id")

    async def unload(self, thread_id: str) -> None:
        """Close a thread that clients have open, and tell them. Not open: returns."""
        async with self.opening(thread_id):
            thread = self.loaded.get(thread_id)
            if thread is not None:
                await self._unload(thread)

    def shown(self, stored: StoredThread, turns: Sequence[StoredTurn] = ()) -> Json:
        """A thread as the protocol writes it, with what is known of it while it is loaded."""
        thread = self.loaded.get(stored.id)
        if thread is None:
            return protocol_thread(stored, turns=turns)
        shown = protocol_thread(stored, turns=turns, **opened(thread, stored))
        shown["model"] = shown["model"] or thread.settings.model
        return shown

    async def close(self) -> None:
        """Interrupt what runs, and let go of every thread; nothing more is begun.

        Raises the first failure, when all the others are closed.
        """
        self._is_stopping = True
        await self.searching.close()
        unloading = [self.unload(thread_id) for thread_id in self.loaded]
        results = await asyncio.gather(*unloading, return_exceptions=True)
        if self._closing:
            await asyncio.wait(self._closing)
        while self._clients:
            _, client = self._clients.popitem()
            from threadstore.engine import OpenAIModel

            if isinstance(client, OpenAIModel):
                await client.close()
        for result in results:
            if result is not None:
                raise result

    # In private

    async def _resumed(self, thread_id: str, settings: SessionSettings) -> Session:
        from threadstore.engine import Session  # a server that only lists has no use for it

        stored = await self.manager.read(thread_id)
        return await Session.resume(
            self.manager,
            thread_id,
            self.client_of(stored.model_provider),
            settings=settings,
            tools=self.tools,
        )

    async def _followed(self, thread_id: str, settings: SessionSettings) -> FollowedThread:
        return await FollowedThread.open(
            self.manager,
            thread_id,
            settings,
            released=self._release,
            silent=lambda thread: self._later(self._hand_over(thread)),
            lost=lambda thread: self._later(self._unload(thread)),
        )

    async def _take_over(self, followed: FollowedThread) -> None:
        session = await self._resumed(followed.id, followed.wanted)
        try:
            await followed.finish()
        except ThreadStoreError:
            await session.close()
            await self._unload(followed)
            raise
        thread = self.keep(session)
        for peer in followed.peers:
            thread.join(peer)

    async def _hand_over(self, followed: FollowedThread) -> None:
        """Take a thread over if its writer has gone."""
        async with self.opening(followed.id):
            if self.loaded.get(followed.id) is followed:
                with suppress(ThreadStoreError):
                    await self._take_over(followed)

    async def _unload(self, thread: OpenThread) -> None:
        if self.loaded.get(thread.id) is not thread:
            return
        try:
            await thread.close()
        finally:
            self.loaded.pop(thread.id, None)
            status = {"threadId": thread.id, "status": {"type": "notLoaded"}}
            self.tell_all("thread/status/changed", status)
            self.tell_all("thread/closed", {"threadId": thread.id})

    def _release(self, thread: OpenThread) -> None:
        self._later(self._unload_if_left(thread))

    async def _unload_if_left(self, thread: OpenThread) -> None:
        await thread.wait_idle()
        async with self.opening(thread.id):
            if not thread.peers:
                await self._unload(thread)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _guard(self, call: Call) -> None:
        peer = self.peer(call)
        if self._is_stopping:
            raise RequestCancelled("the server stops")
        if not peer.allowance.take():
            raise Overloaded
        if call.method == "initialize":
            if peer.is_initialized:
                raise InvalidRequest("Already initialized")
        elif not peer.is_initialized:
            raise InvalidRequest("Not initialized")


async def _nothing(_call: Call, _params: msgspec.Raw) -> None:
    """Nothing to do."""


def _openai_model(provider: Provider) -> Model:
    from threadstore.engine import OpenAIModel

    return OpenAIModel(
        base_url=provider.base_url, api_key=provider.api_key, headers=provider.headers
    )
