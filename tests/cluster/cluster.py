"""One primary and two synchronous standbys on this machine, as a test sees them."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from psycopg import sql

from threadstore.testing.postgres_server import OWNER, ROLE, PostgresServer

NODES: Final = ("n0", "n1", "n2")
SYNCHRONOUS: Final = f"ANY 1 ({', '.join(NODES)})"
_PATIENCE: Final = 30.0
_RECEIVED: Final = """
SELECT greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0'::pg_lsn
"""


class Cluster:
    """Three servers, as a context manager; whoever is the primary waits for one of the others."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="threadstore-cluster-"))
        self.folder.chmod(0o755)
        self.nodes = {name: self._node(name) for name in NODES}
        self.primary = NODES[0]
        self.database = ""

    def __enter__(self) -> Self:
        try:
            first = self.nodes[self.primary]
            first.initialise()
            first.start()
            first.make_template()
            for name in NODES[1:]:
                self.rebuild(name)
            self._wait_for_standbys(2)
            first.admin(
                sql.SQL("ALTER SYSTEM SET synchronous_standby_names = {}").format(
                    sql.Literal(SYNCHRONOUS)
                )
            )
            first.admin(sql.SQL("SELECT pg_reload_conf()"))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything and delete it."""
        for node in self.nodes.values():
            node.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def standbys(self) -> list[str]:
        """Every node but the primary."""
        return [name for name in NODES if name != self.primary]

    def dsn(self, *, user: str = ROLE, database: str | None = None) -> str:
        """The connection string of clients: all nodes, of which one takes writes."""
        hosts = ",".join(str(self.folder / name) for name in NODES)
        path = self.database if database is None else database
        return f"postgresql://{user}@/{path}?host={hosts}&target_session_attrs=read-write"

    def query(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the primary as the superuser, from the database of the test."""
        with psycopg.connect(self.dsn(user=OWNER), autocommit=True) as connection:
            return connection.execute(sql.SQL(query), values).fetchall()

    def lose_primary(self) -> str:
        """The machine of the primary is gone with its disk; its name."""
        lost = self.primary
        self.nodes[lost].kill()
        shutil.rmtree(self.nodes[lost].data)
        return lost

    def promote(self) -> None:
        """Make the standby a primary that has received most; the other one follows it."""
        received: dict[str, int] = {}
        for name in self.standbys:
            with psycopg.connect(self.nodes[name].dsn("postgres", user=OWNER)) as connection:
                ((received[name],),) = connection.execute(_RECEIVED).fetchall()
        self.primary = max(received, key=lambda name: received[name])
        self.nodes[self.primary].admin(sql.SQL("SELECT pg_promote()"))

    def mend(self) -> None:
        """Bring back what was lost, and make a new database."""
        for name in self.standbys:
            if not self.nodes[name].running:
                self.nodes[name].start()
        self._wait_for_standbys(2)
        self.database = self.nodes[self.primary].new_database(f"db_{secrets.token_hex(4)}")

    def rebuild(self, name: str) -> None:
        """Make *name* a standby, from a copy of the primary."""
        node = self.nodes[name]
        node.copy(self.nodes[self.primary])
        with (node.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"synchronous_standby_names = '{SYNCHRONOUS}'\n")
        node.start()

    def _node(self, name: str) -> PostgresServer:
        folder = self.folder / name
        folder.mkdir()
        hosts = ",".join(str(self.folder / other) for other in NODES)
        source = f"host={hosts} user={OWNER} application_name={name}"
        return PostgresServer(
            f"primary_conninfo={source} target_session_attrs=read-write",
            "wal_retrieve_retry_interval=100ms",
            "shared_buffers=32MB",
            folder=str(folder),
        )

    def _wait_for_standbys(self, count: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        dsn = self.nodes[self.primary].dsn("postgres", user=OWNER)
        with psycopg.connect(dsn, autocommit=True) as connection:
            while connection.execute(query).fetchall() != [(count,)]:
                assert time.monotonic() < deadline, "no standby comes"
                time.sleep(0.05)
