"""Durable conversation threads for AI agents, on disk compatible with OpenAI Codex.

History creates a thread; metadata describes it. Start with :func:`open_store`, then
:class:`ThreadManager` for many threads or :class:`LiveThread` for one.
"""

from __future__ import annotations

from threadstore.lazy import lazy_names
from threadstore.version import VERSION

TYPE_CHECKING = False  # spares every start the import of typing
if TYPE_CHECKING:
    from threadstore.clock import Clock, SystemClock
    from threadstore.config import LocalStoreConfig, MemoryStoreConfig
    from threadstore.errors import (
        Conflict,
        CorruptHistory,
        InvalidRequest,
        StoreUnavailable,
        ThreadNotFound,
        ThreadStoreError,
        Unsupported,
    )
    from threadstore.factory import open_store
    from threadstore.history.items import DamagedLine, History, RolloutItem
    from threadstore.history.turns import StoredTurn, TurnError, build_turns
    from threadstore.live import EphemeralThread, LiveThread
    from threadstore.manager import ThreadManager
    from threadstore.metadata import (
        UNSET,
        GitInfo,
        GitInfoPatch,
        HistoryBase,
        MetadataOrigin,
        NewThread,
        Section,
        StoredThread,
        ThreadMetadataPatch,
        ThreadUsage,
        TokenUsage,
    )
    from threadstore.pages import ItemPage, TurnPage
    from threadstore.queries import SortKey, ThreadPage, ThreadQuery
    from threadstore.search import (
        Occurrence,
        OccurrencePage,
        SearchHit,
        SearchPage,
        SearchQuery,
        TextRole,
    )
    from threadstore.store import AppendReceipt, Capabilities, Durability, Finding, ThreadStore

__all__ = [
    "UNSET",
    "AppendReceipt",
    "Capabilities",
    "Clock",
    "Conflict",
    "CorruptHistory",
    "DamagedLine",
    "Durability",
    "EphemeralThread",
    "Finding",
    "GitInfo",
    "GitInfoPatch",
    "History",
    "HistoryBase",
    "InvalidRequest",
    "ItemPage",
    "LiveThread",
    "LocalStoreConfig",
    "MemoryStoreConfig",
    "MetadataOrigin",
    "NewThread",
    "Occurrence",
    "OccurrencePage",
    "RolloutItem",
    "SearchHit",
    "SearchPage",
    "SearchQuery",
    "Section",
    "SortKey",
    "StoreUnavailable",
    "StoredThread",
    "StoredTurn",
    "SystemClock",
    "TextRole",
    "ThreadManager",
    "ThreadMetadataPatch",
    "ThreadNotFound",
    "ThreadPage",
    "ThreadQuery",
    "ThreadStore",
    "ThreadStoreError",
    "ThreadUsage",
    "TokenUsage",
    "TurnError",
    "TurnPage",
    "Unsupported",
    "__version__",
    "build_turns",
    "open_store",
]

__version__ = VERSION

# Where the names come from. Each is imported when it is first used: `import threadstore` itself,
# and a face that needs three of the names, pay for nothing else.
_HOMES = {
    "clock": ("Clock", "SystemClock"),
    "config": ("LocalStoreConfig", "MemoryStoreConfig"),
    "errors": (
        "Conflict",
        "CorruptHistory",
        "InvalidRequest",
        "StoreUnavailable",
        "ThreadNotFound",
        "ThreadStoreError",
        "Unsupported",
    ),
    "factory": ("open_store",),
    "history.items": ("DamagedLine", "History", "RolloutItem"),
    "history.turns": ("StoredTurn", "TurnError", "build_turns"),
    "live": ("EphemeralThread", "LiveThread"),
    "manager": ("ThreadManager",),
    "metadata": (
        "UNSET",
        "GitInfo",
        "GitInfoPatch",
        "HistoryBase",
        "MetadataOrigin",
        "NewThread",
        "Section",
        "StoredThread",
        "ThreadMetadataPatch",
        "ThreadUsage",
        "TokenUsage",
    ),
    "pages": ("ItemPage", "TurnPage"),
    "queries": ("SortKey", "ThreadPage", "ThreadQuery"),
    "search": (
        "Occurrence",
        "OccurrencePage",
        "SearchHit",
        "SearchPage",
        "SearchQuery",
        "TextRole",
    ),
    "store": ("AppendReceipt", "Capabilities", "Durability", "Finding", "ThreadStore"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
__getattr__ = lazy_names(__name__, globals(), _MODULES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
