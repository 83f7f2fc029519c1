"""Settings of the stores, as plain values. Nothing here reads the environment: faces do."""

from __future__ import annotations

import msgspec

__all__ = ["LocalStoreConfig", "MemoryStoreConfig"]


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
    """Seconds after which a list looks again at every rollout for what other programs did to it.
    New names, new database rows, and files that come to the folders in use or leave them are
    noticed at once."""

    busy_timeout: float = 5.0
    """Seconds to wait for a locked database, as Codex waits."""
