"""Other programs on the same database files, as real processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

Locked = Callable[..., AbstractContextManager[None]]
RunWithoutRights = Callable[[str, str], str]

_HOLDER = """
import sys, apsw
connection = apsw.Connection(sys.argv[1])
for statement in sys.argv[2:]:
    list(connection.execute(statement))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def locked() -> Locked:
    """``with locked(path, *statements)``: another process runs them and stays until the end."""

    @contextlib.contextmanager
    def hold(path: str, *statements: str) -> Iterator[None]:
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLDER, path, *(statements or ("BEGIN EXCLUSIVE",))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            yield
            assert holder.stdin is not None
            holder.stdin.close()

    return hold


@pytest.fixture
def public_folder() -> Iterator[str]:
    """A folder that every user can reach (the usual one is the test user's alone)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield folder
        os.chmod(folder, 0o755)


@pytest.fixture
def run_without_rights() -> RunWithoutRights:
    """``run(imports, code)``: what the code prints, run by a user without special rights."""

    def run(imports: str, code: str) -> str:
        # Imports come first: the user may not be able to read the interpreter's folders.
        drop = "import os\nif os.geteuid() == 0:\n    os.setgid(65534)\n    os.setuid(65534)\n"
        done = subprocess.run(
            [sys.executable, "-c", f"{imports}\n{drop}{code}"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
