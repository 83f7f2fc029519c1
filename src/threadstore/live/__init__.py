"""Live threads: one handle per active thread."""

from threadstore.live.thread import LiveThread

__all__ = ["LiveThread"]
