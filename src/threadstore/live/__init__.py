"""Live threads: one handle per active thread."""

from threadstore.live.ephemeral import EphemeralThread
from threadstore.live.thread import LiveThread

__all__ = ["EphemeralThread", "LiveThread"]
