"""``doctor`` on the index of texts. All of it can be made again, so all of it can be mended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from threadstore.store import Finding
from threadstore.stores.postgres.database import Connection, Database
from threadstore.stores.postgres.statements import statement

__all__ = ["TextInspection"]

_ORPHANED: Final = statement("inspection", "orphaned_texts")
_STALE: Final = statement("inspection", "stale_texts")
_MEND: Final = tuple(
    statement("inspection", name) for name in ("forget_texts", "forget_text_mark", "index_again")
)


class TextInspection:
    """Compares what is indexed with the logs."""

    def __init__(self, database: Database, *, fix: bool) -> None:
        self._database = database
        self._fix = fix

    async def findings(self) -> AsyncIterator[Finding]:
        """Texts without a thread, and threads that searches do not see as they are."""
        for query, code, reason, fix in (
            (_ORPHANED, "orphaned_texts", "the index has texts of no thread", "removes them"),
            (
                _STALE,
                "stale_texts",
                "the index has more or less of its texts than there is, and searches miss some",
                "has it indexed again by the next search",
            ),
        ):
            for (thread_id,) in await self._database.rows(query, self._values()):
                if self._fix:
                    await self._mend(thread_id)
                yield Finding(
                    code=code,
                    severity="warning",
                    subject=thread_id,
                    reason=reason,
                    thread_id=thread_id,
                    fix=fix,
                    fixed=self._fix,
                )

    async def _mend(self, thread_id: str) -> None:
        values = self._values() | {"thread": thread_id}

        async def mend(connection: Connection) -> None:
            for query in _MEND:
                await connection.execute(query, values)

        await self._database.transaction(mend)

    def _values(self) -> dict[str, str]:
        return {"tenant": self._database.tenant}
