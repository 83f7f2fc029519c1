"""The same requests to a real app server and to ours: equal answers, up to a list."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.codex.app_server import AppServer, write_config
from tests.codex.transcript_differences import DIFFERENCES
from tests.codex.transcript_plays import PLAYS
from tests.codex.transcripts import Player, differences

if TYPE_CHECKING:
    from tests.codex.model_server import ModelServer
    from tests.codex.releases import Release

pytestmark = [pytest.mark.codex, pytest.mark.timeout(600)]

OURS = Path(sys.executable).with_name("threadstore")


def played(binary: Path, folder: Path, model: ModelServer, name: str, mode: str) -> Player:
    """A play on a server of its own."""
    home, cwd = folder / "home", folder / "cwd"
    write_config(home, model.url)
    cwd.mkdir()
    with AppServer(binary, home, cwd) as server:
        player = Player(server, cwd, mode)
        PLAYS[name](player)
        return player


@pytest.mark.parametrize("name", PLAYS)
def test_answers_are_those_of_codex(
    release: Release, model: ModelServer, tmp_path: Path, name: str
) -> None:
    mode = release.modes[-1]
    theirs = played(release.binary, tmp_path / "theirs", model, name, mode)
    ours = played(OURS, tmp_path / "ours", model, name, mode)
    found = list(differences(theirs, ours))
    known = [each for each in DIFFERENCES if each.counts_for(name, mode)]
    news = [line for line in found if not any(re.search(each.what, line) for each in known)]
    assert not news, "not in the list of differences"
    gone = [
        each.what
        for each in known
        if each.play == name and not any(re.search(each.what, line) for line in found)
    ]
    assert not gone, "in the list, and no difference any more"
