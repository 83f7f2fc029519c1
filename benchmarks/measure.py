"""Two operations measured in turn, and what came out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeAlias

import msgspec

__all__ = ["Result", "in_turn", "seconds"]


Best: TypeAlias = Callable[[Iterable[float]], float]
"""``min`` for times, ``max`` for rates."""


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
        """Ours divided by the limit, both the best of their rounds."""
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
    ours: Callable[[], float], limit: Callable[[], float], *, best: Best, rounds: int = 9
) -> tuple[float, float]:
    """The best of both, measured A B A B after one round that does not count.

    The best round is the one that other programs on the machine disturbed least; medians of a
    shared machine compare its moods.
    """
    ours()
    limit()
    pairs = [(ours(), limit()) for _ in range(rounds)]
    return best(pair[0] for pair in pairs), best(pair[1] for pair in pairs)
