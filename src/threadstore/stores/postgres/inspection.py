"""``doctor`` on a database: what does not fit together, and how safe the server's settings are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from threadstore.errors import StoreUnavailable
from threadstore.history.items import DamagedLine
from threadstore.metadata import StoredThread
from threadstore.store import Finding
from threadstore.stores.postgres.database import Database, Row
from threadstore.stores.postgres.inspect_texts import TextInspection
from threadstore.stores.postgres.logs import Logs, Segment, parse_batch
from threadstore.stores.postgres.records import columns, decode_record
from threadstore.stores.postgres.statements import statement

__all__ = ["Inspection"]

_SETTINGS: Final = statement("inspection", "settings")
_THREADS: Final = statement("inspection", "threads")
_HEADS: Final = statement("inspection", "heads")
_BASES: Final = statement("inspection", "bases")
_UPDATE: Final = statement("threads", "update")
_PAGE: Final = 500
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_SHOWN: Final = 5
"""Damaged lines of one thread that are named."""
_COPIES: Final = (
    *("created_at", "updated_at", "recency_at", "archived_at", "parent", "cwd"),
    *(
        "model_provider",
        "model",
        "git_origin",
        "source_kind",
        "source_custom",
        "displayable",
        "search_text",
    ),
)


class _Row(msgspec.Struct, frozen=True):
    """What the tables say about one id."""

    id: str
    record: bytes | None
    version: int | None
    position: int | None
    base: str | None
    base_position: int | None
    holder: str | None
    expired: bool | None
    copies: tuple[Any, ...]

    @classmethod
    def of(cls, thread_id: str, thread: Row | None, head: Row | None) -> _Row:
        _, record, version, *copies = thread or (None,) * (3 + len(_COPIES))
        _, position, base, base_position, holder, expired = head or (None,) * 6
        return cls(
            *(thread_id, record, version, position, base, base_position, holder, expired),
            copies=tuple(copies),
        )


class Inspection:
    """Looks at every thread of the tenant; reads only, but for copies of facts that it corrects."""

    def __init__(self, database: Database, logs: Logs, *, fix: bool) -> None:
        self._database = database
        self._logs = logs
        self._fix = fix

    async def findings(self) -> AsyncIterator[Finding]:
        """Everything that is wrong."""
        for name, setting in await self._database.rows(_SETTINGS, {}):
            if setting == "off":
                yield Finding(
                    code="not_durable",
                    severity="warning",
                    subject=name,
                    reason=f"{name} is off: what the server acknowledges may not survive a crash",
                )
        async for row in self._rows():
            async for finding in self._of_row(row):
                yield finding
        async for finding in TextInspection(self._database, fix=self._fix).findings():
            yield finding

    async def _rows(self) -> AsyncIterator[_Row]:
        """Every thread or log, in the order of ids; joined here, since shards cannot."""
        after = _FIRST_ID
        while True:
            heads = await self._page(_HEADS, after)
            threads = await self._page(_THREADS, after)
            if heads.keys() != threads.keys():  # what came or went meanwhile is not wrong
                again = await self._page(_HEADS, after)
                heads = {
                    **{each: head for each, head in again.items() if each in threads},
                    **{
                        each: head
                        for each, head in heads.items()
                        if each in threads or each in again
                    },
                }
            ids = sorted(threads.keys() | heads.keys())[:_PAGE]
            for thread_id in ids:
                yield _Row.of(thread_id, threads.get(thread_id), heads.get(thread_id))
            if len(ids) < _PAGE:
                return
            after = ids[-1]

    async def _page(self, query: bytes, after: str) -> dict[str, Row]:
        values = {"tenant": self._database.tenant, "after": after, "limit": _PAGE}
        return {row[0]: row for row in await self._database.rows(query, values)}

    async def _of_row(self, row: _Row) -> AsyncIterator[Finding]:
        def finding(code: str, severity: Any, reason: str, **more: Any) -> Finding:
            return Finding(
                code=code,
                severity=severity,
                subject=row.id,
                reason=reason,
                thread_id=row.id,
                **more,
            )

        has_lines = row.position is not None and row.position > (row.base_position or 0)
        if row.holder is not None and row.expired:
            yield finding(
                "expired_lease",
                "info",
                f"its writer ({row.holder}) has gone without letting go; anybody may take it over",
            )
        if row.record is None:
            if has_lines:
                yield finding(
                    "orphaned_log", "error", "it has lines but no metadata, and is in no list"
                )
            return
        if not has_lines:
            yield finding("missing_log", "error", "it has metadata but no history")
            return
        try:
            thread = decode_record(row.record)
        except StoreUnavailable as error:
            yield finding("damaged_record", "error", error.message)
        else:
            if self._copies_differ(thread, row):
                yield await self._mend_copies(thread, row, finding)
        async for found in self._of_log(row, finding):
            yield found

    def _copies_differ(self, thread: StoredThread, row: _Row) -> bool:
        values = columns(thread)
        # The folder was resolved on the machine that wrote it.
        return any(
            values[name] != copy
            for name, copy in zip(_COPIES, row.copies, strict=True)
            if name != "cwd"
        )

    async def _mend_copies(
        self, thread: StoredThread, row: _Row, finding: Callable[..., Finding]
    ) -> Finding:
        fixed = False
        if self._fix:
            values = {**columns(thread), "tenant": self._database.tenant, "version": row.version}
            fixed = bool(await self._database.change(_UPDATE, values))
        return finding(
            "stale_columns",
            "error",
            "lists filter and sort it by facts that are not in its record",
            fix="copies the facts of the record into the columns",
            fixed=fixed,
        )

    async def _of_log(self, row: _Row, finding: Callable[..., Finding]) -> AsyncIterator[Finding]:
        assert row.position is not None
        start = row.base_position or 0
        if row.base is not None:
            values = {"tenant": self._database.tenant, "threads": [row.base]}
            bases = await self._database.rows(_BASES, values)
            if not bases or bases[0][1] < start:
                yield finding(
                    "missing_base", "error", f"the history it stands on is gone: {row.base}"
                )
        expected, damaged = start + 1, 0
        segment = Segment(row.id, start, row.position)
        async for batch in self._logs.batches(segment):
            for position, _ in batch:
                if position != expected:
                    yield finding(
                        "missing_lines", "error", f"lines {expected} to {position - 1} are missing"
                    )
                expected = position + 1
            for entry in parse_batch(batch):
                if isinstance(entry, DamagedLine):
                    damaged += 1
                    if damaged <= _SHOWN:
                        yield finding(
                            "damaged_line", "warning", f"line {entry.position}: {entry.reason}"
                        )
        if expected != row.position + 1:
            yield finding(
                "missing_lines", "error", f"lines {expected} to {row.position} are missing"
            )
        if damaged > _SHOWN:
            yield finding(
                "damaged_line", "warning", f"and {damaged - _SHOWN} more lines that cannot be read"
            )
