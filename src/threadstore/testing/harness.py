"""What the conformance suite needs to know about a store, and its ways around it."""

from __future__ import annotations

import abc
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, ClassVar

from threadstore.store import Capabilities, ThreadStore
from threadstore.testing.clock import ManualClock

__all__ = ["Corruption", "StoreHarness"]


class Corruption(StrEnum):
    """What :meth:`StoreHarness.corrupt` does to a thread's log."""

    GARBAGE_LINE = "garbage_line"
    """Adds a line that is no JSON."""
    TORN_TAIL = "torn_tail"
    """Adds the beginning of a line, as a crash leaves it."""
    INVALID_UTF8 = "invalid_utf8"
    """Adds a good line with bytes that are not UTF-8 in a string: :data:`INVALID_UTF8_LINE`."""
    BLANK_LINE = "blank_line"
    """Adds a line of nothing."""
    EVERY_LINE = "every_line"
    """Makes every line of the log unreadable."""


class StoreHarness(abc.ABC):
    """Makes stores on one set of data and looks at that data behind their back.

    The suite makes a new harness for each test. Back doors never go through the store, so that no
    store can pass by agreeing with itself.
    """

    GARBAGE: ClassVar[bytes] = b'{"timestamp":"2026-03-04T05:06:07.000Z","type":'
    INVALID_UTF8_LINE: ClassVar[bytes] = (
        b'{"timestamp":"2026-03-04T05:06:07.000Z","type":"event_msg",'
        b'"payload":{"type":"agent_message","message":"caf\xe9"}}'
    )

    def __init__(self) -> None:
        self.clock = ManualClock()
        """The clock of every store that :meth:`open` makes."""

    @property
    @abc.abstractmethod
    def capabilities(self) -> Capabilities:
        """What the store declares."""

    @abc.abstractmethod
    def open(self) -> AbstractAsyncContextManager[ThreadStore]:
        """A store on the harness's data. Again after it was left: a restart; while another one is
        open: a second process."""

    @abc.abstractmethod
    def raw_history(self, thread_id: str) -> list[bytes]:
        """The lines of the thread's own log, without newlines; ``[]`` if there is none."""

    @abc.abstractmethod
    def raw_metadata(self, thread_id: str) -> dict[str, Any] | None:
        """What is recorded about the thread outside of its log; ``None``: nothing.

        In any form: the suite only compares it with other answers of the same harness. What a store
        may rebuild at any time, such as an index, does not belong here.
        """

    def traces(self, thread_id: str) -> list[str]:
        """Every place that knows the id, for people; ``[]`` for a thread that never was.

        Extend it with whatever else a store may leave behind, indexes included; locks do not count.
        """
        places = ["history"] if self.raw_history(thread_id) else []
        return places + (["metadata"] if self.raw_metadata(thread_id) is not None else [])

    @abc.abstractmethod
    def corrupt(self, thread_id: str, how: Corruption) -> None:
        """Damage the log of a thread that has no writer."""

    @abc.abstractmethod
    def crash(self) -> None:
        """Every process that uses the data ends here, as by ``kill -9``.

        Stores that are open by now are only closed from then on; :meth:`open` makes a store on what
        the crash left.
        """

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Give back what the harness holds; nobody uses it any more."""

    def log_facts(self, history_mode: str) -> frozenset[str]:
        """Fields of ``StoredThread`` that the store takes from the history whatever a patch says.

        The suite patches these only to what the history says.
        """
        del history_mode
        return frozenset()

    def volatile_facts(self, history_mode: str) -> frozenset[str]:
        """Fields that may fall back to what the history says, because the harness takes away the
        place where the store keeps them."""
        del history_mode
        return frozenset()
