"""Settings of the stores, as plain values. Nothing here reads the environment: faces do."""

from __future__ import annotations

import msgspec

__all__ = ["LocalStoreConfig", "MemoryStoreConfig", "PostgresStoreConfig"]


class MemoryStoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the memory store."""

    default_model_provider: str = "openai"
    """Provider of a thread whose history names none."""


class LocalStoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the local store on a Codex home."""

    home: str
    """The Codex home (absolute path); rollouts and the name index live here."""

    sqlite_home: str | None = None
    """Folder of the databases; ``None``: what the home's ``config.toml`` says, else the home.
    As in Codex 0.131 and 0.169, ``sqlite_home`` in ``config.toml`` wins over this value."""

    default_model_provider: str | None = None
    """Provider of a thread whose history names none; ``None``: ``model_provider`` of the home's
    ``config.toml``, else ``openai``."""

    use_state_db: bool = True
    """Read and write Codex's ``state_5.sqlite``. Off: work from the files alone."""

    use_index_file: bool = True
    """Keep our own list index in a file beside it. Off: keep it in memory, for this process."""

    refresh_interval: float = 1.0
    """Seconds after which a list looks again for what other programs did: at every rollout, and in
    a home of more than 2,000 at those that are likely to have grown, while the background looks at
    the others. New names, new database rows, and files that come to the folders in use or leave
    them are noticed at once."""

    busy_timeout: float = 5.0
    """Seconds to wait for a locked database, as Codex waits."""

    text_index: bool = True
    """Keep an index of texts in a file beside the list index, from the first search on. Off, or
    where the list index has no file: each search reads all histories."""

    search_patience: float = 2.0
    """Seconds for which a search brings that index up to date before it answers with what is
    there, and says so."""


class PostgresStoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the PostgreSQL store. Times are in seconds."""

    dsn: str
    """Connection string for the driver: a URL or ``key=value`` words."""

    tenant: str = "default"
    """Whose threads they are. One store object sees one tenant."""

    default_model_provider: str = "openai"
    """Provider of a thread whose history names none."""

    pool_size: int = 4
    """Most connections at once. More are slower on a server with few cores."""

    pool_timeout: float = 10.0
    """How long a call waits for a connection."""

    connect_timeout: float = 10.0
    """How long opening waits for the server."""

    statement_timeout: float = 30.0
    """How long the server works on one statement."""

    retry_for: float = 15.0
    """How long a call tries again while the server restarts or another one is promoted."""

    lease_expiry: float = 10.0
    """After this time without a sign of its writer (server's clock) a thread can be taken over."""

    heartbeat: float = 3.0
    """How often a store renews the leases of its live threads."""

    transaction_pooling: bool = False
    """Say the tenant in each transaction and prepare nothing: for pgbouncer in transaction mode,
    and for clusters that pass on only what is said with SET LOCAL."""

    batch_threads: bool = True
    """Write appends of several threads in one statement. Off for sharded engines."""

    def __post_init__(self) -> None:
        if not self.tenant or "\0" in self.tenant:
            raise ValueError("tenant must be a word")
        if self.heartbeat * 2 > self.lease_expiry:
            raise ValueError("lease_expiry must be at least twice the heartbeat")
        if self.pool_size < 1:
            raise ValueError("pool_size must be at least 1")
