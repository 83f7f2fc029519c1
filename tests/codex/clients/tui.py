"""Codex's terminal client, connected to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.codex.app_server import environment, write_config
from tests.codex.clients.terminal import ENTER, Terminal
from tests.codex.install import codex_binary

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["READY", "RELEASE", "Tui"]

RELEASE: Final = "0.169.0"
READY: Final = "Ask Codex to do anything"
_NOTICES: Final = """
[notice]
hide_full_access_warning = true
hide_rate_limit_model_nudge = true
"""


class Tui(Terminal):
    """``codex ARGUMENTS --remote URL``. It has a home of its own: the threads are the server's."""

    def __init__(self, url: str, home: Path, cwd: Path, *arguments: str) -> None:
        if not home.exists():
            write_config(home, "http://127.0.0.1:9/v1", extra=_NOTICES)
        binary = str(codex_binary(RELEASE))
        command = [binary, "--no-alt-screen", *arguments, "--remote", url]
        super().__init__(command, cwd=cwd, env=environment(home))

    def say(self, text: str, answer: str) -> None:
        """Say something that was not said before, and wait for the answer."""
        self.send(text)
        self.answered(text, answer)

    def answered(self, text: str, answer: str) -> None:
        """Wait until *answer* stands below *text*, and the next can be said."""
        self.wait(lambda screen: answer in screen.partition(text)[2].partition(READY)[0])
        self.wait(READY)

    def send(self, text: str) -> None:
        """Put a text into the composer, and press the enter key."""
        self.wait(READY)
        self.paste(text)
        self.press(ENTER)

    def command(self, text: str) -> None:
        """A slash command: typed, because what is pasted is no command."""
        self.wait(READY)
        self.press(text)
        self.wait(lambda screen: f"› {text}" in screen)
        self.press(ENTER)

    def quit(self) -> str:
        """Leave; the last screen."""
        self.command("/quit")
        return self.gone()
