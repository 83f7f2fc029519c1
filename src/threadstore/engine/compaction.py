"""Compaction: the model goes on with a summary, the history stays as it is.

The model is asked for the summary with the whole context. A ``compacted`` line marks the cut and
holds what the context is replaced by: what the user said, and the summary. Its tokens are told at
once, not when something settles (Codex 0.131).
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from threadstore.engine.events import ContextCompacted
from threadstore.engine.model import Completed, ItemDone, ModelError, RateLimits, answer
from threadstore.engine.outputs import message_text
from threadstore.engine.state import estimated_tokens
from threadstore.history.items import RolloutItem
from threadstore.history.messages import bare_user_text, content_text
from threadstore.ids import new_thread_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from threadstore.engine.sampling import TurnFacts
    from threadstore.engine.state import SessionState

__all__ = ["SUMMARY_PREFIX", "compact"]

Json = dict[str, Any]

PROMPT: Final = (
    "The context of this conversation is nearly full and will be replaced by your summary. Write "
    "it for whoever goes on with the work: what the user wants and under which conditions, what "
    "was done and found out, which decisions were taken and why, what is left to do, and the "
    "names, paths and values that will be needed. Leave out what no longer matters."
)
SUMMARY_PREFIX: Final = (
    "The conversation up to here was replaced by this summary, written by the model that led it:"
)
KEPT_CHARACTERS: Final = 80_000
"""How much of what the user said stays at most, newest first: about 20,000 tokens. Of a small
window a quarter, at four characters a token."""


async def compact(
    state: SessionState,
    turn: TurnFacts,
    *,
    mid_turn: bool,
    tried: Callable[[Callable[[], Awaitable[str]]], Awaitable[str]],
) -> None:
    """Replace the context by a summary. *tried* tries a request as often as the settings say.

    *mid_turn*: the turn goes on with it, so that what is said at a turn's start stays in front.
    Raises :class:`ModelError` if no summary can be had; then nothing has changed.
    """
    item: Json = {"type": "ContextCompaction", "id": new_thread_id()}
    state.journal.tell(state.started(turn.id, item))
    summary = await _summary(state, turn, tried)
    opening = [entry.payload for entry in state.opening()] if mid_turn else []
    room = min(KEPT_CHARACTERS, state.settings.context_window)
    said = _said(state.journal.fold.items, room)
    context = [*opening, *said, _user(summary)]
    marker = RolloutItem("compacted", {"message": summary, "replacement_history": context})
    lines = [marker, state.turn_context(turn.id)] if mid_turn else [marker]
    state.tokens.estimate(estimated_tokens(context))
    await state.journal.record(
        *lines,
        state.tokens.event(turn.id),
        ContextCompacted(turn_id=turn.id),
        state.completed(turn.id, item),
    )


async def _summary(
    state: SessionState,
    turn: TurnFacts,
    tried: Callable[[Callable[[], Awaitable[str]]], Awaitable[str]],
) -> str:
    """The summary; if the context does not fit any more its oldest items are left out."""
    context = list(state.journal.fold.items)
    while True:

        async def ask(context: list[Json] = context) -> str:
            return await _ask(state, turn, [*context, _user(PROMPT)])

        try:
            text = await tried(ask)
        except ModelError as error:
            if error.kind != "context_window_exceeded" or len(context) < 2:
                raise
            context = context[max(len(context) // 8, 1) :]
            continue
        return f"{SUMMARY_PREFIX}\n{text}"


async def _ask(state: SessionState, turn: TurnFacts, context: list[Json]) -> str:
    text = ""
    request = state.request(context=context, tools=False)
    try:
        async with aclosing(answer(state.client, request)) as events:
            async for event in events:
                match event:
                    case RateLimits():
                        state.tokens.limits(event.snapshot)
                        await state.journal.record(state.tokens.event(turn.id))
                    case ItemDone() if event.item.get("type") == "message":
                        text = message_text(event.item) or text
                    case Completed():
                        await _book(state, turn, event)
    except ModelError as error:
        await _book(state, turn, Completed("", error.usage))
        raise
    if not text.strip():
        raise ModelError("the model gave no summary", retryable=True)
    return text


async def _book(state: SessionState, turn: TurnFacts, done: Completed) -> None:
    if done.usage is not None:
        turn.usage += done.usage
        await state.book(done, turn.id, turn.usage)
        await state.journal.record(state.tokens.event(turn.id))


def _said(items: list[Json], room: int) -> list[Json]:
    """What the user said, without context and summaries; of too much the newest."""
    kept: list[Json] = []
    for item in reversed(items):
        text = _user_words(item)
        if not text or room <= 0:
            continue
        kept.append(_user(text[-room:]))
        room -= len(text)
    return kept[::-1]


def _user_words(item: Json) -> str:
    text = content_text(item.get("content"))
    if text.startswith((SUMMARY_PREFIX, "<turn_aborted>")) or not bare_user_text(item).text:
        return ""
    return text


def _user(text: str) -> Json:
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content}
