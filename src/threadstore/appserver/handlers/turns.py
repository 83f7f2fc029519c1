"""Turns: starting, steering, interrupting them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threadstore.appserver.handlers.changing import apply_settings, tell_settings
from threadstore.appserver.narration import new_turn
from threadstore.appserver.params import InterruptParams, SteerParams, TurnStartParams
from threadstore.appserver.wording import user_input
from threadstore.errors import InvalidRequest

if TYPE_CHECKING:
    from threadstore.appserver.server import AppServer
    from threadstore.engine import Image, LocalImage, Text
    from threadstore.jsonrpc import Call

__all__ = ["register"]

Json = dict[str, Any]


def register(server: AppServer) -> None:
    """Add the methods of this module."""
    server.method("turn/start", start, TurnStartParams)
    server.method("turn/steer", steer, SteerParams)
    server.method("turn/interrupt", interrupt, InterruptParams)


async def start(server: AppServer, _call: Call, params: TurnStartParams) -> Json:
    """A turn with what the user says; while one runs it gets the input (Codex).

    A turn that takes none, because it compacts or is about to end, is waited for.
    """
    thread = await server.writer(params.thread_id)
    session = thread.session
    if params.tool_output is not None:
        raise InvalidRequest("toolOutput is not taken here", hint="answer item/tool/call instead")
    given = _said(server, params.input)
    client_id = params.client_user_message_id
    while (running := session.turn) is not None:
        if session.takes_input:
            return {"turn": new_turn(await session.steer(given, client_id=client_id))}
        await running.result()
    changed = apply_settings(session, params)
    if params.output_schema != session.settings.output_schema:
        session.configure(output_schema=params.output_schema)
    turn = await session.start_turn(given, client_id=client_id)
    if changed:
        await tell_settings(thread)
    return {"turn": new_turn(turn.id)}


async def steer(server: AppServer, _call: Call, params: SteerParams) -> Json:
    """More input for the turn that runs."""
    session = (await server.writer(params.thread_id)).session
    running, expected = session.turn, params.expected_turn_id
    if running is not None and running.id != expected:  # the terminal client reads these words
        raise InvalidRequest(f"expected active turn id `{expected}` but found `{running.id}`")
    turn_id = await session.steer(
        _said(server, params.input),
        expected_turn=expected,
        client_id=params.client_user_message_id,
    )
    return {"turnId": turn_id}


async def interrupt(server: AppServer, call: Call, params: InterruptParams) -> None:
    """Stop the turn that runs; the answer comes before the news that it has ended."""
    thread = await server.writer(params.thread_id)
    peer = server.peer(call)

    async def answer() -> None:
        await peer.told()
        await call.reply({})

    await thread.interrupt(params.turn_id, answer)


def _said(server: AppServer, parts: list[Json]) -> list[Text | Image | LocalImage]:
    given = user_input(parts)
    server.access.check_images(given)
    return given
