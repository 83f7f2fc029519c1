"""Our server as its own process, for clients that connect to it."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.codex.app_server import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PROGRAM", "TOOL", "serving", "write_tool"]

PROGRAM: Final = str(Path(sys.executable).parent / "threadstore")
TOOL: Final = "greetings:greeting"
_TOOL: Final = '''
def greeting(name: str) -> str:
    """How to address somebody in a letter."""
    return f"Dear {name}"
'''
PATIENCE: Final = 30


def write_tool(folder: Path) -> None:
    """Make *folder* a place that :data:`TOOL` can be imported from."""
    folder.joinpath("greetings.py").write_text(_TOOL)


@contextmanager
def serving(
    home: Path, cwd: Path, *, store: str | None = None, listen: str = "ws://127.0.0.1:0"
) -> Iterator[str]:
    """The URL of a server on *store*, or else on *home*; it has to stop without a complaint."""
    write_tool(cwd)
    command = [PROGRAM, *(() if store is None else ("--store", store)), "app-server"]
    command += ["--listen", listen, "--tools", TOOL]
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment(home), "PYTHONPATH": str(cwd)},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            first = server.stderr.readline()
            assert first.startswith("listening on "), first + server.stderr.read()
            yield first.split()[-1]
            server.send_signal(signal.SIGTERM)
            complaints = server.stderr.read()
            assert server.wait(PATIENCE) == 0, complaints
            assert complaints == ""
        finally:
            server.kill()
