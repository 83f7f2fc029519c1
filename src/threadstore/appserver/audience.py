"""A thread that clients have open, whoever writes it: who hears of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from threadstore.appserver.narration import FAILED, IDLE, active_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from threadstore.appserver.peers import Peer
    from threadstore.engine import SessionSettings
    from threadstore.metadata import StoredThread

__all__ = ["OpenThread"]

Json = dict[str, Any]


class OpenThread(ABC):
    """What is the same for a thread written here and for one written elsewhere."""

    def __init__(
        self,
        thread_id: str,
        *,
        ephemeral: bool = False,
        released: Callable[[OpenThread], None],
    ) -> None:
        """*released* is called when nothing runs here and nobody follows any more."""
        self.id = thread_id
        self.ephemeral = ephemeral
        self.peers: list[Peer] = []
        self._released = released

    @property
    @abstractmethod
    def settings(self) -> SessionSettings:
        """How its turns are run, as far as that is known here."""

    @property
    @abstractmethod
    def turn_id(self) -> str | None:
        """The turn that runs."""

    @property
    def waiting_for(self) -> tuple[str, ...]:
        """What the turn waits for, as flags of its status."""
        return ()

    @property
    def failed(self) -> bool:
        """Whether the last turn failed."""
        return False

    @property
    def status(self) -> Json:
        """Its status as the protocol says it."""
        if self.turn_id is None:
            return dict(FAILED if self.failed else IDLE)
        return active_status(*self.waiting_for)

    @abstractmethod
    async def read(self) -> StoredThread:
        """Its metadata."""

    @abstractmethod
    async def wait_idle(self) -> None:
        """Return when nothing that was asked for here runs."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of it."""

    def join(self, peer: Peer) -> None:
        """Let *peer* hear of it; twice is once."""
        if peer not in self.peers:
            self.peers.append(peer)

    def leave(self, peer: Peer) -> bool:
        """Tell *peer* no more; whether it had followed. With the last one the thread may go."""
        if peer not in self.peers:
            return False
        self.peers.remove(peer)
        if not self.peers:
            self._released(self)
        return True

    def tell(self, method: str, params: Json) -> None:
        """Tell all who follow."""
        for peer in self.peers:
            peer.tell(method, params)
