"""Our engine and a real Codex play the same scenes: what they persist, tell and send to the model.

The scenes and all differences are in ``scenes/``. What the releases do is recorded as well, so that
``tests/engine/test_recorded_orders.py`` needs no binary; here the recordings are looked at again.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.codex.install import codex_binary
from tests.codex.scenes import codex, comparing, ours
from tests.codex.scenes.codex import Played
from tests.codex.scenes.plays import PLAYS

if TYPE_CHECKING:
    from threadstore.metadata import HistoryMode

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]
RECORDED = Path(__file__).parents[1] / "engine" / "recorded"
MODES: dict[str, HistoryMode] = {comparing.OLD: "legacy", comparing.NEW: "paginated"}


def _scenes() -> list[tuple[str, str]]:
    return [(release, name) for release in MODES for name in PLAYS if not _by_chance(release, name)]


def _by_chance(release: str, scene: str) -> bool:
    return release in PLAYS[scene].chance


@pytest.mark.parametrize(("release_name", "scene"), _scenes())
def test_both_persist_and_tell_in_the_same_order(
    release_name: str, scene: str, tmp_path: Path
) -> None:
    mode = MODES[release_name]
    binary = codex_binary(release_name)
    theirs = codex.play(binary, tmp_path / "theirs", PLAYS[scene], mode=mode)
    recording = json.loads(RECORDED.joinpath(f"{release_name}.json").read_text())
    assert theirs == Played(**recording["scenes"][scene])
    if (release_name, scene) in comparing.NOT_COMPARED:
        return
    mine = asyncio.run(ours.play(tmp_path / "ours", PLAYS[scene], mode=mode))
    assert comparing.comparable(release_name, mine) == comparing.expected(
        release_name, scene, theirs
    )
