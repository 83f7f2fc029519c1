"""Pages of turns and items as the protocol shows them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.errors import InvalidRequest
from threadstore.history.turns import build_turns
from threadstore.live.ephemeral import EphemeralThread
from threadstore.paging import MarkedTurns, shown_turns
from threadstore.protocol.codex_plain import encode_plain_turn
from threadstore.protocol.codex_thread import protocol_turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadstore.appserver.params import TurnsPageParams
    from threadstore.appserver.server import AppServer
    from threadstore.history.growing import OpenStatus
    from threadstore.history.plain import PlainTurn
    from threadstore.history.turns import StoredTurn

__all__ = [
    "ShownTurns",
    "clamped",
    "cursor_of",
    "shown_turns_of",
    "turn_of",
    "turns_of",
    "turns_page",
]

Json = dict[str, Any]

DEFAULT_LIMIT = 25
MAX_LIMIT = 100
_encode: Final = msgspec.json.Encoder().encode


def clamped(limit: int | None, default: int = DEFAULT_LIMIT, most: int = MAX_LIMIT) -> int:
    """A page size as Codex takes it: what is out of bounds is brought into them."""
    return default if limit is None else min(max(limit, 1), most)


@contextmanager
def cursor_of(cursor: object) -> Iterator[None]:
    """Have a bad cursor named as the client sent it."""
    try:
        yield
    except InvalidRequest as error:
        if cursor is not None and "cursor" in error.message:
            raise InvalidRequest(f"invalid cursor: {cursor}", hint=error.hint) from error
        raise


class ShownTurns(msgspec.Struct, frozen=True):
    """All turns of a thread, as JSON."""

    turns: list[msgspec.Raw] = []
    last_id: str | None = None


async def shown_turns_of(server: AppServer, thread_id: str) -> ShownTurns:
    """All turns of a thread for an answer; the last one goes on if it runs here."""
    if isinstance(server.manager.get(thread_id), EphemeralThread):
        written = [_written(turn) for turn in await turns_of(server, thread_id)]
    else:
        status: OpenStatus = "in_progress" if _runs(server, thread_id) else "interrupted"
        store = server.manager.store
        written = await shown_turns(store, thread_id, _written, _written_plain, open_status=status)
    last_id = written[-1][0] if written else None
    return ShownTurns([turn for _, turn in written], last_id)


def _written(turn: StoredTurn) -> tuple[str, msgspec.Raw]:
    return turn.id, msgspec.Raw(_encode(protocol_turn(turn)))


def _written_plain(turn: PlainTurn) -> tuple[str, msgspec.Raw]:
    return turn.started.turn_id, msgspec.Raw(encode_plain_turn(turn))


async def turns_of(server: AppServer, thread_id: str) -> tuple[StoredTurn, ...]:
    """All turns of a thread; the last one goes on if it runs here."""
    handle = server.manager.get(thread_id)
    history = await (
        server.manager.store.load_history(thread_id) if handle is None else handle.load_history()
    )
    return build_turns(
        history.items, open_status="in_progress" if _runs(server, thread_id) else "interrupted"
    )


async def turn_of(server: AppServer, thread_id: str, turn_id: str) -> StoredTurn | None:
    """One turn of a thread, found without reading the others where they are marked."""
    if isinstance(server.manager.get(thread_id), EphemeralThread):
        turns = await turns_of(server, thread_id)
        return next((turn for turn in turns if turn.id == turn_id), None)
    status: OpenStatus = "in_progress" if _runs(server, thread_id) else "interrupted"
    marked = await MarkedTurns.of(server.manager.store, thread_id, status)
    return await marked.find(turn_id)


async def turns_page(
    server: AppServer, thread_id: str, page: TurnsPageParams, *, cursor: str | None
) -> Json:
    """A page of turns; newest first unless asked otherwise."""
    with cursor_of(cursor):
        found = await server.manager.store.list_turns(
            thread_id,
            cursor=cursor,
            limit=clamped(page.limit),
            descending=page.sort_direction != "asc",
        )
    running = server.loaded[thread_id].turn_id if _runs(server, thread_id) else None
    turns = [
        msgspec.structs.replace(turn, status="in_progress") if turn.id == running else turn
        for turn in found.items
    ]
    view = page.items_view or "summary"
    return {
        "data": [_viewed(turn, view) for turn in turns],
        "nextCursor": found.next_cursor,
        "backwardsCursor": found.backwards_cursor,
    }


def _runs(server: AppServer, thread_id: str) -> bool:
    thread = server.loaded.get(thread_id)
    return thread is not None and thread.turn_id is not None


def _viewed(turn: StoredTurn, view: str) -> Json:
    shown = protocol_turn(turn)
    if view == "full":
        return shown
    items: list[Json] = []
    if view == "summary":
        said = [item for item in shown["items"] if item["type"] == "userMessage"][:1]
        answers = [item for item in shown["items"] if item["type"] == "agentMessage"][-1:]
        items = [*said, *answers]
    return {**shown, "items": items, "itemsView": view}
