"""A Codex home that tests write into as a release does, and that stores of ours work on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.stores.local.homes import CodexHome

from threadstore.testing import LocalHarness


@pytest.fixture
def harness(tmp_path: Path) -> LocalHarness:
    """Opens stores on the home; open twice at once is two programs."""
    return LocalHarness(tmp_path)


@pytest.fixture
def codex(harness: LocalHarness) -> CodexHome:
    """The same home, to be filled by hand."""
    return CodexHome(Path(harness.home))
