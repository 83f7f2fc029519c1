"""pgbouncer before a server, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final, Self

import psycopg

from threadstore.testing.postgres_server import ROLE, PostgresServer, unprivileged

PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH')}:/usr/sbin")
_PATIENCE: Final = 10.0
_SETTINGS: Final = """
[databases]
* = host={server}

[pgbouncer]
pool_mode = {mode}
listen_port = 5432
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
default_pool_size = 8
max_client_conn = 500
server_login_retry = 1
ignore_startup_parameters = extra_float_digits
"""


class Pooler:
    """pgbouncer in *mode* (``transaction`` or ``session``), as a context manager."""

    def __init__(self, folder: Path, server: PostgresServer, mode: str) -> None:
        self.folder = folder
        self._settings = folder / "pgbouncer.ini"
        self._settings.write_text(_SETTINGS.format(server=server.folder, folder=folder, mode=mode))
        (folder / "users").write_text(f'"{ROLE}" ""\n')
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str) -> str:
        """The connection string of a database behind it."""
        return f"postgresql://{ROLE}@/{database}?host={self.folder}"

    def __enter__(self) -> Self:
        assert PGBOUNCER is not None
        self._process = subprocess.Popen(
            unprivileged(PGBOUNCER, "-q", str(self._settings)), stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.dsn("postgres")).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "pgbouncer does not start"
                time.sleep(0.02)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
