"""How much is measured: all of it, or little to see that it works (``--quick``)."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["CACHE", "is_quick", "pick"]

CACHE = Path(__file__).parents[1] / ".cache" / "bench"
"""Where homes and other programs are kept between runs."""
_QUICK = "BENCH_QUICK"


def set_quick() -> None:
    """For this process and those that it starts."""
    os.environ[_QUICK] = "1"


def is_quick() -> bool:
    """Whether this is a quick run."""
    return _QUICK in os.environ


def pick(full: int, quick: int) -> int:
    """A size or a number of rounds."""
    return quick if is_quick() else full
