"""A terminal for programs that draw on one: what they draw is text, and keys are bytes."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Any, Final, Self

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

__all__ = ["DOWN", "ENTER", "ESCAPE", "UP", "Terminal"]

ENTER: Final = "\r"
ESCAPE: Final = "\x1b"
UP: Final = "\x1b[A"
DOWN: Final = "\x1b[B"
PATIENCE: Final = 30.0
"""Seconds after which what is not on the screen will not come."""
_UNKNOWN: Final = re.compile(rb"\x1b\[[<>=][0-9;]*[A-Za-z]|\x1b\[\?[0-9;]*[a-gi-km-zA-Z]")
"""Sequences that the emulator would print, such as those for newer keyboards."""
_HALF: Final = re.compile(rb"\x1b(\[[<>=?0-9;]*|\][^\x07\x1b]*)?$")


class _Screen(pyte.Screen):  # type: ignore[misc, unused-ignore]
    """Answers what a program asks its terminal."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], None]) -> None:
        super().__init__(columns, lines)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        """Called by the emulator: where the cursor is, and what the terminal can do."""
        self._answer(data.encode())


class Terminal:
    """A program in a terminal of its own, as a context manager; leaving ends it in every case."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        columns: int = 120,
        lines: int = 100,
    ) -> None:
        self._screen = _Screen(columns, lines, self._write)
        self._stream = pyte.ByteStream(self._screen)
        self._rest = b""
        self._fd, other = os.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._process = subprocess.Popen(
            [*command],
            cwd=cwd,
            env={**env, "TERM": "xterm-256color"},
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        os.close(self._fd)

    # What is seen

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return "\n".join(line.rstrip() for line in self._screen.display).strip("\n")

    def wait(self, ready: str | Callable[[str], Any], *, patience: float = PATIENCE) -> str:
        """Wait until the screen shows a text, or something that is *ready*; the screen."""
        deadline = time.monotonic() + patience
        seen = ready if callable(ready) else lambda text: ready in text
        while not seen(self.text):
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"the screen does not show {ready}:\n{self.text}")
        return self.text

    def gone(self, *, patience: float = PATIENCE) -> str:
        """Wait until the program has ended; its last screen."""
        deadline = time.monotonic() + patience
        while self._read(deadline - time.monotonic()):
            pass
        self._process.wait(max(deadline - time.monotonic(), 0.1))
        return self.text

    # What is pressed

    def press(self, keys: str) -> None:
        """Press keys."""
        self._write(keys.encode())

    def paste(self, text: str) -> None:
        """Paste a text; typed, it could be taken for keys that mean something."""
        self._write(b"\x1b[200~" + text.encode() + b"\x1b[201~")
        self.wait(text)

    # In private

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def _read(self, patience: float) -> bool:
        """Take in what is drawn next; whether anything came in time."""
        if not select.select([self._fd], [], [], max(patience, 0))[0]:
            return False
        try:
            data = self._rest + os.read(self._fd, 65536)
        except OSError:  # the program is gone
            return False
        half = _HALF.search(data)
        cut = len(data) if half is None else half.start()
        data, self._rest = data[:cut], data[cut:]
        self._stream.feed(_UNKNOWN.sub(b"", data))
        return True
