"""The cases of the conformance suite, one module for each part of the contract."""

from __future__ import annotations

from threadstore.testing.cases.append import AppendTests
from threadstore.testing.cases.history import ForkTests, HistoryTests
from threadstore.testing.cases.lifecycle import LifecycleTests
from threadstore.testing.cases.turns import TurnTests

__all__ = ["ThreadStoreTests"]


class ThreadStoreTests(LifecycleTests, AppendTests, HistoryTests, ForkTests, TurnTests):
    """The whole contract of a thread store. Subclass it as ``Test…`` and override ``harness``."""
