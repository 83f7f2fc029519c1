"""What the home's ``config.toml`` says that concerns a store."""

from __future__ import annotations

import contextlib
import errno
import os
from functools import cached_property
from typing import Any

from threadstore.config import LocalStoreConfig
from threadstore.errors import InvalidRequest
from threadstore.stores.local.paths import Home, is_text, unavailable

__all__ = ["HomeConfig", "check_home"]


class HomeConfig:
    """The settings after all sources were asked.

    Codex 0.131 and 0.169: ``sqlite_home`` in ``config.toml`` wins over the environment, and a
    relative one is relative to the home. A file that cannot be read or parsed counts as empty: a
    store must work on a home whose settings are being edited. It is read at once, and parsed when
    somebody asks for what it may say: every start would wait for that.
    """

    def __init__(self, config: LocalStoreConfig) -> None:
        self._config = config
        self._data = b""
        with contextlib.suppress(OSError), open(f"{config.home}/config.toml", "rb") as file:
            self._data = file.read()

    @property
    def sqlite_home(self) -> str:
        """The folder of the databases."""
        folder = self._said("sqlite_home")
        if folder is None:
            folder = self._config.sqlite_home or self._config.home
        return os.path.join(self._config.home, os.path.expanduser(folder))

    @property
    def model_provider(self) -> str:
        """The provider of threads that name none."""
        return self._config.default_model_provider or self._said("model_provider") or "openai"

    def _said(self, setting: str) -> str | None:
        value = self._settings.get(setting) if setting.encode() in self._data else None
        return value if isinstance(value, str) else None

    @cached_property
    def _settings(self) -> dict[str, Any]:
        import tomllib

        try:
            return tomllib.loads(self._data.decode())
        except ValueError:
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
