"""The conformance kit: run the contract's own tests against your store.

Needs the ``testing`` extra. See docs/write-a-store.md.
"""

from __future__ import annotations

import pytest

# Before the import, or failing assertions in the cases say nothing.
pytest.register_assert_rewrite(
    "threadstore.testing.cases", "threadstore.testing.differential", "threadstore.testing.stateful"
)

from threadstore.testing.cases import ThreadStoreTests  # noqa: E402
from threadstore.testing.clock import ManualClock  # noqa: E402
from threadstore.testing.differential import run_differential  # noqa: E402
from threadstore.testing.faults import FaultyStore  # noqa: E402
from threadstore.testing.harness import Corruption, StoreHarness  # noqa: E402
from threadstore.testing.harnesses import LocalHarness, MemoryHarness  # noqa: E402
from threadstore.testing.seeds import empty_thread, record_thread, spawned_by  # noqa: E402
from threadstore.testing.stateful import ThreadStoreMachine  # noqa: E402
from threadstore.testing.wrapper import ThreadStoreWrapper  # noqa: E402

__all__ = [
    "Corruption",
    "FaultyStore",
    "LocalHarness",
    "ManualClock",
    "MemoryHarness",
    "StoreHarness",
    "ThreadStoreMachine",
    "ThreadStoreTests",
    "ThreadStoreWrapper",
    "empty_thread",
    "record_thread",
    "run_differential",
    "spawned_by",
]
