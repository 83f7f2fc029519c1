"""Two operations measured in turn, and what came out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import msgspec

__all__ = ["Result", "in_turn", "seconds"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    name: str
    ours: float
    limit: float
    unit: str
    goal: float
    """The ratio ours/limit that should be reached."""
    higher_is_better: bool

    @property
    def ratio(self) -> float:
        """Ours divided by the limit, both medians."""
        return self.ours / self.limit

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio >= self.goal if self.higher_is_better else self.ratio <= self.goal

    def line(self) -> str:
        """The line as it is printed."""
        sign = ">=" if self.higher_is_better else "<="
        mark = "" if self.met else "  MISSED"
        ours, limit = _figure(self.ours, self.unit), _figure(self.limit, self.unit)
        return (
            f"{self.name:<44} {ours:>14} {limit:>14}"
            f" {self.ratio:>7.3f} {sign + format(self.goal, 'g'):>8}{mark}"
        )


def _figure(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value >= 0.001 else f"{value * 1e6:.3g} us"
    return f"{value:,.0f} {unit}"


def seconds(operation: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def in_turn(
    ours: Callable[[], float], limit: Callable[[], float], *, rounds: int = 7
) -> tuple[float, float]:
    """Medians of both, measured A B A B after one round that does not count."""
    ours()
    limit()
    pairs = [(ours(), limit()) for _ in range(rounds)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)
