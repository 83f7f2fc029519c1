"""``docs/app-server.md`` names every method, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from tests.appserver.test_params import Described

PAGE = Path(__file__).parents[2] / "docs" / "app-server.md"


def test_every_method_is_documented() -> None:
    table = PAGE.read_text().partition("## Methods")[2].partition("\nAny other method")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(named) == sorted(Described().params)
