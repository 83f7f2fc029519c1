"""What all parts of a session share."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import UNSET

from threadstore.engine.events import ItemCompleted, ItemStarted
from threadstore.engine.model import Completed, Model, ModelRequest
from threadstore.errors import InvalidRequest, ThreadStoreError
from threadstore.history.context import request_input
from threadstore.history.items import RolloutItem
from threadstore.live.thread import LiveThread
from threadstore.metadata import MetadataOrigin, ThreadMetadataPatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from threadstore.clock import Clock
    from threadstore.engine.journal import Journal
    from threadstore.engine.questions import Questions
    from threadstore.engine.settings import SessionSettings
    from threadstore.engine.tokens import TokenBook
    from threadstore.engine.tools import Toolbox
    from threadstore.history.usage import UsageLedger
    from threadstore.metadata import StoredThread, TokenUsage

__all__ = ["SessionState", "estimated_tokens"]

Json = dict[str, Any]

_BYTES_PER_TOKEN: Final = 4


class SessionState:
    """A session's thread, model, tools and books. Turns and compactions work on it."""

    def __init__(
        self,
        *,
        stored: StoredThread,
        journal: Journal,
        client: Model,
        settings: SessionSettings,
        toolbox: Toolbox,
        questions: Questions,
        tokens: TokenBook,
        ledger: UsageLedger,
        clock: Clock,
        instructions: str | None = None,
    ) -> None:
        """*instructions* are those in the thread's header."""
        self.stored = stored
        self.journal = journal
        self.client = client
        self.settings = settings
        self.toolbox = toolbox
        self.questions = questions
        self.tokens = tokens
        self.ledger = ledger
        self.clock = clock
        self.instructions = instructions
        if stored.usage is not None and tokens.total is not None:
            # Whoever wrote last may have been killed between a line and the metadata.
            total = {"total_token_usage": msgspec.to_builtins(tokens.total)}
            ledger.observe(total, journal.fold.model)

    @property
    def thread_id(self) -> str:
        """The thread's id."""
        return self.stored.id

    @property
    def cwd(self) -> str:
        """The working directory that the model is told."""
        return self.stored.cwd if self.settings.cwd is None else self.settings.cwd

    @property
    def model(self) -> str:
        """The model's name."""
        if self.settings.model is None:
            raise InvalidRequest("no model was named", hint="set SessionSettings.model")
        return self.settings.model

    def is_full(self, *coming: Json) -> bool:
        """Whether the context has to be compacted before a request with what is *coming*."""
        limit = self.settings.compaction_limit
        if limit is None:
            return False
        used = self.tokens.context_tokens
        if self.tokens.overflown or used >= limit:
            return True
        return used + estimated_tokens([*self._news(), *coming]) >= limit

    def _news(self) -> list[Json]:
        """What came into the context after the last response or compaction, which were counted."""
        items, last = self.journal.fold.items, len(self.journal.fold.items)
        counted = self.journal.fold.replaced
        while last > counted and not _is_said_by_model(items[last - 1]):
            last -= 1
        return items[last:]

    def seconds(self) -> int:
        """Now, in seconds since the epoch, as turn events say it."""
        return int(self.clock.now().timestamp())

    def milliseconds(self) -> int:
        """Now, in milliseconds since the epoch, as item events say it."""
        return int(self.clock.now().timestamp() * 1000)

    def request(self, *, context: Sequence[Json] | None = None, tools: bool = True) -> ModelRequest:
        """The next request: the context as it stands, or another *context*."""
        settings = self.settings
        return ModelRequest(
            model=self.model,
            instructions=settings.instructions or "",
            input=tuple(request_input(self.journal.fold.items if context is None else context)),
            tools=tuple(self.toolbox.specs()) if tools else (),
            parallel_tool_calls=settings.parallel_tool_calls,
            reasoning_effort=settings.reasoning_effort,
            reasoning_summary=settings.reasoning_summary if settings.reasoning_effort else None,
            output_schema=settings.output_schema if tools else None,
            cache_key=self.thread_id,
        )

    def started(self, turn_id: str, item: Json) -> ItemStarted:
        """The event that *item* began just now."""
        return ItemStarted(
            turn_id=turn_id,
            thread_id=self.thread_id,
            item=item,
            started_at_ms=self.milliseconds(),
        )

    def completed(
        self, turn_id: str, item: Json, started_at_ms: int | None = None
    ) -> ItemCompleted:
        """The event that *item* is complete now."""
        return ItemCompleted(
            turn_id=turn_id,
            thread_id=self.thread_id,
            item=item,
            started_at_ms=UNSET if started_at_ms is None else started_at_ms,
            completed_at_ms=self.milliseconds(),
        )

    async def book(self, done: Completed, turn_id: str, turn_usage: TokenUsage) -> None:
        """Keep what a response used, at once; the event that tells of it comes later.

        *turn_usage* is that of the turn so far, this response included.
        """
        assert done.usage is not None
        self.tokens.book(done.usage)
        self.ledger.book(done.usage, self.model)
        handle = self.journal.handle
        if handle.history_mode == "paginated":
            await self.journal.record(self._usage_record(done, turn_id, turn_usage))
        if isinstance(handle, LiveThread) and self.tokens.total is not None:
            usage = self.ledger.usage or UNSET
            patch = ThreadMetadataPatch(token_usage=self.tokens.total, usage=usage)
            with suppress(ThreadStoreError):  # the token_count line will say it again
                await asyncio.shield(handle.update_metadata(patch, MetadataOrigin.OBSERVED))

    def _usage_record(self, done: Completed, turn_id: str, turn_usage: TokenUsage) -> RolloutItem:
        """The line that Codex keeps of each response in paginated threads (0.155 and later)."""
        payload = {
            "thread_id": self.thread_id,
            "turn_id": turn_id,
            "session_id": self.stored.session_id or self.thread_id,
            "root_turn_id": turn_id,
            "response_id": done.response_id,
            "usage": msgspec.to_builtins(done.usage),
            "turn_token_usage": msgspec.to_builtins(turn_usage),
            "thread_token_usage": msgspec.to_builtins(self.tokens.total),
        }
        return RolloutItem("token_usage_record", payload)

    def opening(self) -> list[RolloutItem]:
        """What the model is told once, before the first message and after each compaction."""
        return self.news_since({})

    def news_since(self, known: Json) -> list[RolloutItem]:
        """What the model has to be told anew after a turn with this ``turn_context``."""
        settings = self.settings
        items = []
        developer = settings.developer_instructions
        if developer and known.get("developer_instructions") != developer:
            items.append(_message("developer", developer))
        if settings.environment and known.get("cwd") != self.cwd:
            items.append(self._environment())
        return items

    def _environment(self) -> RolloutItem:
        """The message that says where and when the model works."""
        now = self.clock.now().astimezone()
        facts = {"cwd": self.cwd, "current_date": f"{now:%Y-%m-%d}", "timezone": now.tzname()}
        lines = [f"  <{key}>{value}</{key}>" for key, value in facts.items() if value]
        text = "\n".join(("<environment_context>", *lines, "</environment_context>"))
        return _message("user", text)

    def _changed_instructions(self) -> str | None:
        """The instructions, if they are not those that the thread began with."""
        now = self.settings.instructions
        return None if now == self.instructions else now

    def turn_context(self, turn_id: str) -> RolloutItem:
        """The line that says under which settings a turn runs, with what Codex needs to read it.

        ``thread_id`` and ``base_instructions`` are ours: what was changed holds after a restart.
        """
        now = self.clock.now().astimezone()
        settings = self.settings
        payload: Json = {
            "turn_id": turn_id,
            "thread_id": self.thread_id,
            "cwd": self.cwd,
            "current_date": f"{now:%Y-%m-%d}",
            "timezone": now.tzname(),
            "approval_policy": settings.approval_policy,
            "sandbox_policy": settings.sandbox_policy,
            "model": self.model,
            "effort": settings.reasoning_effort,
            "summary": settings.reasoning_summary or "none",
            "developer_instructions": settings.developer_instructions,
            "base_instructions": self._changed_instructions(),
        }
        return RolloutItem(
            "turn_context", {key: value for key, value in payload.items() if value is not None}
        )


def estimated_tokens(items: Iterable[Json]) -> int:
    """About how many tokens *items* are: four bytes of their JSON each, images left out."""
    text = (
        {**item, "content": [part for part in parts if part.get("type") != "input_image"]}
        if isinstance(parts := item.get("content"), list)
        else item
        for item in items
    )
    return sum(len(msgspec.json.encode(item)) for item in text) // _BYTES_PER_TOKEN


def _is_said_by_model(item: Json) -> bool:
    kind = item.get("type", "")
    return item.get("role") == "assistant" or kind == "reasoning" or kind.endswith("_call")


def _message(role: str, text: str) -> RolloutItem:
    content = [{"type": "input_text", "text": text}]
    return RolloutItem("response_item", {"type": "message", "role": role, "content": content})
