"""The scripted model, for all tests with real Codex binaries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex.model_server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    """Up as long as the tests run."""
    with ModelServer() as server:
        yield server
