"""What holds for every test: an environment without the developer's settings, and no leaks."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from threadstore.testing.postgres_server import PostgresServer

pytest_plugins = ["pytester", "tests.every_store"]

for _name in [*os.environ]:
    if _name == "HOME" or _name.startswith(("CODEX_", "GIT_", "XDG_")):
        del os.environ[_name]
os.environ["HOME"] = os.devnull  # a test that needs a home makes one
os.environ["GIT_CONFIG_NOSYSTEM"] = "1"

# How long inputs take to make says something about the machine's load, nothing about the code.
settings.register_profile(
    "threadstore", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("threadstore")


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread running.

    Those of executors may: asyncio's end with their loop, the Python SDK keeps its own for ever.
    """
    before = set(threading.enumerate())
    yield
    left = [
        thread
        for thread in set(threading.enumerate()) - before
        if thread.is_alive() and not thread.name.startswith(("asyncio_", "codex-turn-start"))
    ]
    assert not left, f"threads left running: {left}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server of this test run. None to be had is a failure."""
    from threadstore.testing.postgres_server import PostgresServer

    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of this test run, for tests that leave it empty: to make one takes longer than
    most of them."""
    name = postgres_server.new_database()
    yield name
    postgres_server.drop_database(name)
