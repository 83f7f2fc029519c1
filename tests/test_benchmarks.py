"""The benchmarks run, in sizes that say nothing about speed, and write their page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Figure, Result, in_turn, median

ROOT = Path(__file__).parents[1]


def result(ours: float, limit: float, *, goal: float | None = 0.5) -> Result:
    return Result(
        name="a line", ours=ours, limit=limit, unit="s", goal=goal, higher_is_better=False
    )


def test_a_group_prints_its_lines_and_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    command = [sys.executable, "-m", "benchmarks", "append one_line", "append stored", "--quick"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path), "--write", str(page)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert "one line of 1 KB, p50 / 12 us" in done.stdout
    text = page.read_text(encoding="utf-8")
    assert "| bytes stored / bytes of payload |" in text
    assert "quick" in text
    assert str(tmp_path) not in text


def test_a_miss_within_the_noise_is_not_told_apart() -> None:
    noisy = Figure.of([1.0, 1.1, 1.3, 1.4], median)
    assert result(noisy, 2.2).verdict == "not told apart"
    assert result(noisy, 1.0).verdict == "missed"
    assert result(1.2, 2.2).verdict == "missed"
    assert result(1.0, 2.2).verdict == "met"
    assert result(9.0, 1.0, goal=None).verdict == ""


def test_both_are_measured_in_turn_after_a_round_that_does_not_count() -> None:
    order: list[str] = []

    def measured(who: str) -> float:
        order.append(who)
        return float(len(order))

    ours, limit = in_turn(lambda: measured("a"), lambda: measured("b"), best=min, rounds=2)

    assert "".join(order) == "ababab"
    assert (ours, limit) == (3.0, 4.0)
