"""Our engine persists and tells in the order in which real Codex releases did on the same scripts.

``tests/codex/test_turn_engine.py`` asks the releases themselves; here they were recorded
(``tools/record_turns.py``).
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.codex.scenes import comparing
from tests.codex.scenes.codex import Played
from tests.codex.scenes.ours import play
from tests.codex.scenes.plays import PLAYS

if TYPE_CHECKING:
    from threadstore.metadata import HistoryMode

FOLDER = Path(__file__).with_name("recorded")
RELEASES = sorted(path.stem for path in FOLDER.glob("*.json"))


@functools.cache
def _recording(release: str) -> dict[str, Any]:
    recording: dict[str, Any] = json.loads(FOLDER.joinpath(f"{release}.json").read_text())
    return recording


def _scenes() -> list[tuple[str, str]]:
    return [
        (release, scene)
        for release in RELEASES
        for scene in _recording(release)["scenes"]
        if (release, scene) not in comparing.NOT_COMPARED
    ]


@pytest.mark.parametrize(("release", "scene"), _scenes())
async def test_the_order_is_that_of_the_release(release: str, scene: str, tmp_path: Path) -> None:
    recording = _recording(release)
    mode: HistoryMode = recording["mode"]
    ours = await play(tmp_path, PLAYS[scene], mode=mode)
    theirs = Played(**recording["scenes"][scene])
    assert comparing.comparable(release, ours) == comparing.expected(release, scene, theirs)


def test_every_scene_was_recorded() -> None:
    for release in RELEASES:
        missing = PLAYS.keys() - _recording(release)["scenes"].keys()
        assert all(release in PLAYS[scene].chance for scene in missing), missing
