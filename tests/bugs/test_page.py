"""The page that lists the mistakes of Codex names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT.joinpath("docs/better-than-codex.md").read_text(encoding="utf-8")
KIT = ROOT / "src/threadstore/testing/cases"


def names_in(*folders: Path) -> set[str]:
    """The names of all test functions below the folders."""
    files = [path for folder in folders for path in folder.rglob("*.py")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    return {name for text in texts for name in re.findall(r"def (test_\w+)\(", text)}


@pytest.mark.parametrize(
    ("folders", "pattern"),
    [((KIT,), r"`(test_\w+)` \(kit\)"), ((ROOT / "tests", KIT), r"`(test_\w+)`")],
    ids=["kit", "all"],
)
def test_every_test_that_the_page_names_exists(folders: tuple[Path, ...], pattern: str) -> None:
    named = set(re.findall(pattern, PAGE))
    assert named
    assert named - names_in(*folders) == set()


def test_every_row_of_the_page_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert [row for row in rows if "`test_" not in row and not row.startswith("| Codex |")] == []


def test_every_test_of_a_mistake_is_on_the_page() -> None:
    mistakes = names_in(Path(__file__).parent) - names_in_file(Path(__file__))
    assert mistakes - set(re.findall(r"`(test_\w+)`", PAGE)) == set()


def names_in_file(path: Path) -> set[str]:
    """The names of the test functions of one file."""
    return set(re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8")))
