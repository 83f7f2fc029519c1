"""The conformance kit: run the contract's own tests against your store; scripted models for agents.

The kit needs the ``testing`` extra, see docs/write-a-store.md. ``scripted_model`` and
``model_server`` need nothing, see docs/agents.md: hence everything here is imported when used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from threadstore.lazy import lazy_names

if TYPE_CHECKING:
    from threadstore.testing.cases import ThreadStoreTests
    from threadstore.testing.clock import ManualClock
    from threadstore.testing.differential import run_differential
    from threadstore.testing.faults import FaultyStore
    from threadstore.testing.harness import Corruption, StoreHarness
    from threadstore.testing.harnesses import LocalHarness, MemoryHarness
    from threadstore.testing.seeds import empty_thread, record_thread, spawned_by
    from threadstore.testing.stateful import ThreadStoreMachine
    from threadstore.testing.wrapper import ThreadStoreWrapper

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

_HOMES = {
    "Corruption": "harness",
    "FaultyStore": "faults",
    "LocalHarness": "harnesses",
    "ManualClock": "clock",
    "MemoryHarness": "harnesses",
    "StoreHarness": "harness",
    "ThreadStoreMachine": "stateful",
    "ThreadStoreTests": "cases",
    "ThreadStoreWrapper": "wrapper",
    "empty_thread": "seeds",
    "record_thread": "seeds",
    "run_differential": "differential",
    "spawned_by": "seeds",
}
if "pytest" in sys.modules:
    # Before they are imported, or failing assertions in there say nothing.
    sys.modules["pytest"].register_assert_rewrite(
        *(f"{__name__}.{module}" for module in ("cases", "differential", "stateful"))
    )
__getattr__ = lazy_names(__name__, globals(), _HOMES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
