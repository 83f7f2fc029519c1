"""A writer killed at any moment loses nothing it acknowledged and leaves nothing unreadable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("kill_driver.py")
ROUNDS = int(os.environ.get("THREADSTORE_KILL_ROUNDS", "100"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(1, 9) if os.environ.get("DEEP") else [1])
def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(tmp_path / "home"), str(ROUNDS), str(seed)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout)
    assert seen["problems"] == []
    assert seen["rounds"] == ROUNDS
    assert seen["items"] > ROUNDS
