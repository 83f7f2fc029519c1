"""How fast the background goes."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["Pace"]

_REST: Final = 20
"""Times as long as a portion of work has kept a core busy: 5 % of one core at most."""


class Pace:
    """A portion of work, from now on, and the rest that it needs."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._work = time.thread_time()

    def rest(self) -> float:
        """Seconds to rest after the portion.

        Time that it waited, for another program or a slow disk, counts once: many times as long,
        and one bad moment would leave a home alone for minutes.
        """
        work, took = time.thread_time() - self._work, time.monotonic() - self._began
        return max(_REST * work, took)
