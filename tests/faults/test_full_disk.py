"""A full disk: what was acknowledged is there, what was refused has changed nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("full_disk.py")
UNSHARED = ["unshare", "--user", "--map-root-user", "--mount"]


def may_mount(folder: Path) -> bool:
    """Whether this system lets us have a small disk of our own."""
    mount = [*UNSHARED, "mount", "-t", "tmpfs", "none", str(folder)]
    try:
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["tmpfs", "limit"])
def test_a_full_disk_costs_nothing_that_was_acknowledged(tmp_path: Path, kind: str) -> None:
    if kind == "tmpfs" and not may_mount(tmp_path):
        kind = "limit"
    prefix = UNSHARED if kind == "tmpfs" else []
    home = tmp_path / "disk" / "home"
    done = subprocess.run(
        [*prefix, sys.executable, str(PROGRAM), str(home), kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said.keys() == {"append", "name", "git", "new"}
    if kind == "tmpfs":
        assert all("No space left" in text or "full" in text for text in said.values()), said
        assert all("free some" in text for text in said.values()), said
