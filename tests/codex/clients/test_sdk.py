"""OpenAI's Python SDK runs on our server, and hears what it hears from Codex."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.codex.clients.differences import DIFFERENCES, differences, thread_words, turn_words
from tests.codex.clients.scenes import PLAIN
from tests.codex.clients.sdk import Kind, play
from tests.codex.clients.serving import PROGRAM
from tests.codex.install import codex_binary

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.codex,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # the SDK's own pipes
]
RELEASE = "0.169.0"
LISTEN = ("app-server", "--listen", "stdio://")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_sdk_hears_the_same_from_both(kind: Kind, tmp_path: Path) -> None:
    theirs = await play(kind, tmp_path / "theirs", (str(codex_binary(RELEASE)), *LISTEN))
    ours = await play(kind, tmp_path / "ours", (PROGRAM, *LISTEN))
    assert ours.told == theirs.told
    assert ours.told["plain"] == ("completed", PLAIN, ["userMessage", "agentMessage"])
    assert turn_words(ours) == turn_words(theirs)
    assert thread_words(ours).split() == thread_words(theirs).split()
    wrong, met = differences(ours, theirs)
    assert wrong == []
    assert met == set(DIFFERENCES)
