"""The recorded schemas are what the real binaries say of themselves today."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.appserver.schema import RELEASES, recorded
from tests.codex.releases import Release
from tools.record_schemas import described

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]


@pytest.mark.parametrize("version", RELEASES)
def test_the_recorded_schemas_are_those_of_the_binary(version: str, tmp_path: Path) -> None:
    assert recorded(version) == described(Release.parse(version).binary)
