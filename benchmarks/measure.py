"""Two operations measured in turn, and what came out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Self, TypeAlias

import msgspec

__all__ = ["Figure", "Result", "aligned", "in_turn", "median", "seconds"]


Best: TypeAlias = Callable[[Iterable[float]], float]
"""``min`` for times, ``max`` for rates, :func:`median` where one disturbed round is no harm."""


class Figure(float):
    """A figure of several rounds."""

    spread: float = 1.0
    """By which factor the middle half of the rounds differ."""

    @classmethod
    def of(cls, rounds: list[float], best: Best) -> Self:
        """What *best* makes of the rounds."""
        figure = cls(best(rounds))
        if len(rounds) >= 3 and min(rounds) > 0:
            low, _, high = statistics.quantiles(rounds, n=4, method="inclusive")
            figure.spread = high / low
        return figure


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    name: str
    ours: float
    limit: float
    unit: str
    goal: float | None
    """The ratio ours/limit that should be reached; ``None``: reported, not judged."""
    higher_is_better: bool
    against: str = ""
    """What ours stands beside, where the group does not say it."""

    @property
    def ratio(self) -> float:
        """Ours divided by the limit."""
        return self.ours / self.limit if self.limit else float("inf") * (self.ours > 0)

    @property
    def met(self) -> bool:
        """Whether the goal is reached, or there is none."""
        if self.goal is None:
            return True
        return self.ratio >= self.goal if self.higher_is_better else self.ratio <= self.goal

    @property
    def verdict(self) -> str:
        """``met``, ``missed``, or what keeps one from saying so."""
        if self.goal is None:
            return ""
        if self.met:
            return "met"
        noise = max(getattr(self.ours, "spread", 1.0), getattr(self.limit, "spread", 1.0))
        by = self.goal / self.ratio if self.higher_is_better else self.ratio / self.goal
        return "not told apart" if by <= min(noise, 1.2) else "missed"

    def cells(self) -> tuple[str, ...]:
        """Name, both figures, ratio, goal and verdict, as they are printed."""
        sign = ">=" if self.higher_is_better else "<="
        goal = "" if self.goal is None else sign + format(self.goal, ".3g")
        figures = _figure(self.ours, self.unit), _figure(self.limit, self.unit)
        return (self.name, *figures, _ratio(self.ratio), goal, self.verdict)

    def line(self) -> str:
        """The line as it is printed."""
        return aligned(self.cells())


def aligned(cells: tuple[str, ...]) -> str:
    """The cells of one line in their columns."""
    name, ours, limit, ratio, goal, verdict = cells
    return f"{name:<58} {ours:>14} {limit:>14} {ratio:>8} {goal:>9}  {verdict}".rstrip()


def _ratio(value: float) -> str:
    return f"{value:.4f}" if value < 0.1 else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _figure(value: float, unit: str) -> str:
    if unit == "s":
        if value >= 1:
            return f"{value:.3g} s"
        return f"{value * 1000:.3g} ms" if value >= 0.001 else f"{value * 1e6:.3g} us"
    if unit == "bytes" and value >= 1e6:
        return f"{value / 1e6:,.1f} MB"
    return f"{value:,.0f} {unit}" if value >= 10 else f"{value:.3g} {unit}"


def median(values: Iterable[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def seconds(operation: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def in_turn(
    ours: Callable[[], float], limit: Callable[[], float], *, best: Best, rounds: int = 9
) -> tuple[Figure, Figure]:
    """The best of both, measured A B A B after one round that does not count.

    The best round is the one that other programs on the machine disturbed least; medians of a
    shared machine compare its moods.
    """
    ours()
    limit()
    pairs = [(ours(), limit()) for _ in range(rounds)]
    return Figure.of([pair[0] for pair in pairs], best), Figure.of(
        [pair[1] for pair in pairs], best
    )
