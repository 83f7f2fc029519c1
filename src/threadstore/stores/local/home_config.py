"""What the home's ``config.toml`` says that concerns a store."""

from __future__ import annotations

import errno
import os
from typing import Any

import msgspec

from threadstore.config import LocalStoreConfig
from threadstore.errors import InvalidRequest
from threadstore.stores.local.paths import Home, is_text, unavailable

__all__ = ["HomeSettings", "check_home", "read_home_config"]


class HomeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings after all sources were asked."""

    sqlite_home: str
    model_provider: str


def read_home_config(config: LocalStoreConfig) -> HomeSettings:
    """Combine *config* and ``config.toml``.

    Codex 0.131 and 0.169: ``sqlite_home`` there wins over the environment, and a relative one is
    relative to the home. A file that cannot be read or parsed counts as empty: a store must work
    on a home whose settings are being edited.
    """
    settings = _settings(os.path.join(config.home, "config.toml"))
    folder = settings.get("sqlite_home")
    if not isinstance(folder, str):
        folder = config.sqlite_home or config.home
    provider = settings.get("model_provider")
    return HomeSettings(
        sqlite_home=os.path.join(config.home, os.path.expanduser(folder)),
        model_provider=config.default_model_provider
        or (provider if isinstance(provider, str) and provider else "openai"),
    )


def _settings(path: str) -> dict[str, Any]:
    """A file that says nothing about stores is not parsed: every start would wait for that."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        if b"sqlite_home" not in data and b"model_provider" not in data:
            return {}
        import tomllib

        return tomllib.loads(data.decode())
    except (OSError, ValueError):
        return {}


def check_home(home: Home) -> None:
    """Refuse a home that cannot be looked at: an empty list must never mean that nobody could.

    Raises InvalidRequest if it is no folder, StoreUnavailable if it may not be read.
    """
    root = home.home
    if os.path.lexists(root) and not os.path.isdir(root):
        raise InvalidRequest(
            f"not a folder: {root}", hint="a local store is a folder (a Codex home)"
        )
    if not is_text(root):
        raise InvalidRequest(
            f"not a path in UTF-8: {root!r}", hint="give the folder a name in UTF-8"
        )
    for folder in (root, home.sessions, home.archived):
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
            error = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            raise unavailable(error, f"cannot read {folder}")
