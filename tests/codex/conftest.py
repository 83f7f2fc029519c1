"""The scripted model, the releases, and the cells of the compatibility page."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.codex import cells as compatibility
from tests.codex.model_server import ModelServer
from tests.codex.releases import Release, releases

if TYPE_CHECKING:
    from collections.abc import Iterator

_found: compatibility.Results = {}
_COMPLAINTS = pytest.StashKey[list[str]]()


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
    complete = _whole_folder(session.config)
    complaints = compatibility.contradictions(_found)
    if not os.environ.get("RECORD"):
        complaints += compatibility.news(_found, complete=complete)
    elif not complaints:
        compatibility.record(_found, complete=complete, day=dt.datetime.now(dt.UTC).date())
    if complaints:
        session.config.stash[_COMPLAINTS] = complaints
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _whole_folder(config: pytest.Config) -> bool:
    return config.args == ["tests/codex"] and not config.option.keyword


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the cells that have changed, and the releases that nobody recorded."""
    for line in config.stash.get(_COMPLAINTS, []):
        terminalreporter.write_line(f"compatibility: {line}", red=True)
    if _COMPLAINTS in config.stash:
        terminalreporter.write_line("If it should be so: make compatibility", red=True)
    if unknown := sorted(_found.keys() - compatibility.load().keys()):
        words = " ".join(unknown)
        terminalreporter.write_line(f'Not recorded yet: make compatibility RELEASES="{words}"')
