"""The scripted model, the releases, and the cells of the compatibility page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.codex import cells as compatibility
from tests.codex.model_server import ModelServer
from tests.codex.releases import Release, releases

if TYPE_CHECKING:
    from collections.abc import Iterator

_found: compatibility.Results = {}


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    """Up as long as the tests run."""
    with ModelServer() as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a ``release`` runs with each."""
    if "release" in metafunc.fixturenames:
        metafunc.parametrize("release", releases(), ids=str)


@pytest.fixture
def cells(request: pytest.FixtureRequest, release: Release) -> compatibility.Cells:
    """Where the test says what it found out about the release."""
    return compatibility.Cells(request, release)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """What a passed test said counts."""
    if report.when == "call" and report.passed:
        compatibility.collect(_found, report.user_properties)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if the tests found other cells than those recorded, or record them (``RECORD=1``)."""
    if hasattr(session.config, "workerinput") or session.exitstatus or not _found:
        return
    if os.environ.get("RECORD"):
        compatibility.record(_found)
    elif news := compatibility.news(_found, complete=_whole_folder(session.config)):
        session.config.stash[_NEWS] = news
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


_NEWS = pytest.StashKey[list[str]]()


def _whole_folder(config: pytest.Config) -> bool:
    return config.args == ["tests/codex"] and not config.option.keyword


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the cells that have changed."""
    for line in config.stash.get(_NEWS, []):
        terminalreporter.write_line(f"compatibility: {line}", red=True)
    if _NEWS in config.stash:
        terminalreporter.write_line("If it should be so: make compatibility", red=True)
