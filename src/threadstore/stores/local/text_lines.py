"""The texts that the index points to, read again from the rollout of their thread."""

from __future__ import annotations

import os
from typing import Final, Self

from threadstore.history.items import RolloutItem
from threadstore.history.lines import Entry, parse_line
from threadstore.metadata import StoredThread
from threadstore.search.texts import TextDocument, text_of, title_text
from threadstore.stores.local.lineage import FindRollout
from threadstore.stores.local.lines import Log
from threadstore.stores.local.reader import read_history, reading
from threadstore.stores.local.text_find import Doc
from threadstore.stores.local.text_source import said_at

__all__ = ["TextLines"]

_CHUNK: Final = 1 << 14


class TextLines:
    """A thread's log, opened when the first text is asked for. Close it."""

    def __init__(self, thread: StoredThread, find_rollout: FindRollout) -> None:
        assert thread.rollout_path is not None
        self._thread = thread
        self._path = thread.rollout_path
        self._find_rollout = find_rollout
        self._log: Log | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._log is not None:
            self._log.close()

    def document(self, doc: Doc) -> TextDocument | None:
        """The text; ``None`` if there is none in that place.

        Raises FileNotFoundError if the file is gone, StoreUnavailable if it cannot be read.
        """
        if not doc.position:
            return title_text(self._thread)
        entry = self._inherited(doc.position) if doc.offset is None else self._own(doc)
        found = text_of(entry) if isinstance(entry, RolloutItem) else None
        if found is None:
            return None
        role, text = found
        return TextDocument(
            role=role,
            tool=doc.tool,
            position=doc.position,
            said_at=said_at(doc.time_us),
            text=text,
        )

    def _own(self, doc: Doc) -> Entry | None:
        with reading(self._path):
            if self._log is None:
                self._log = Log.open(self._path)
            descriptor, size = self._log.plain()
            offset = doc.offset or 0
            parts: list[bytes] = []
            while offset < size and (part := os.pread(descriptor, _CHUNK << len(parts), offset)):
                line, newline, _ = part.partition(b"\n")
                parts.append(line)
                if newline:
                    break
                offset += len(part)
        return parse_line(b"".join(parts), doc.position)

    def _inherited(self, position: int) -> Entry | None:
        batches = read_history(self._path, self._find_rollout, after=position - 1)
        entry = next((batch[0] for batch in batches), None)
        return entry if entry is not None and entry.position == position else None
