"""URLs to stores: the only module that names concrete stores."""

from __future__ import annotations

import os.path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from threadstore.config import LocalStoreConfig, MemoryStoreConfig, PostgresStoreConfig
from threadstore.errors import InvalidRequest, Unsupported

if TYPE_CHECKING:
    from threadstore.clock import Clock
    from threadstore.store import ThreadStore

__all__ = ["migrate_store", "open_store", "postgres_config"]

Config = TypeVar("Config", LocalStoreConfig, MemoryStoreConfig, PostgresStoreConfig)

_SCHEMES: Final = (
    "memory:, local:/path/to/home[?sqlite_home=/absolute/path],"
    " postgresql://user@host/database[?tenant=name]"
)


def open_store(url: str, *, clock: Clock | None = None, **options: Any) -> ThreadStore:
    """The store that *url* names, as an async context manager: ``async with open_store(url)``.

    ``memory:`` keeps threads in this object; ``local:/path/to/home`` in a Codex home (a relative
    path starts at the current folder; nothing is expanded); ``postgresql://…`` in a database (what
    is no option of the store is one of libpq, e.g. ``sslmode``). *options* are the fields of the
    store's configuration (``threadstore.config``); what the URL says after ``?`` wins over them,
    and ``None`` means unset.

    Nothing is opened or created before the context is entered. Raises :class:`InvalidRequest` for
    a URL or an option that makes no sense, :class:`Unsupported` if the extra of the store is not
    installed.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme == "memory":
        return _memory(url, rest, clock, options)
    if colon and scheme == "local":
        return _local(url, rest, clock, options)
    if colon and scheme in ("postgresql", "postgres"):
        return _postgres(url, clock, options)
    if "@" in url:  # there may be a password in it
        url = f"{scheme}:…"
    raise InvalidRequest(f"unknown store URL: {url!r}", hint=f"known URLs: {_SCHEMES}")


def _memory(url: str, rest: str, clock: Clock | None, options: dict[str, Any]) -> ThreadStore:
    path, query = _split(url, rest)
    if path:
        raise InvalidRequest(f"a memory store has no path: {url!r}", hint="use memory:")
    from threadstore.stores.memory import MemoryThreadStore

    return MemoryThreadStore(_config(MemoryStoreConfig, {**options, **query}), clock=clock)


def _local(url: str, rest: str, clock: Clock | None, options: dict[str, Any]) -> ThreadStore:
    path, query = _split(url, rest)
    if path.startswith("///"):  # local:///home/ada/.codex
        path = path[2:]
    if not path or path.startswith("//"):
        problem = "has no host" if path else "needs a path"
        raise InvalidRequest(
            f"a local store {problem}: {url!r}", hint="for example local:/home/ada/.codex"
        )
    config = _config(LocalStoreConfig, {**options, **query, "home": os.path.abspath(path)})
    if config.sqlite_home is not None and not os.path.isabs(config.sqlite_home):
        raise InvalidRequest(f"sqlite_home must be an absolute path: {config.sqlite_home!r}")
    from threadstore.stores.local.store import LocalThreadStore

    return LocalThreadStore(config, clock=clock)


def _postgres(url: str, clock: Clock | None, options: dict[str, Any]) -> ThreadStore:
    config = postgres_config(url, options)
    try:
        from threadstore.stores.postgres.store import PostgresThreadStore
    except ImportError as error:
        raise _not_installed(error) from error
    return PostgresThreadStore(config, clock=clock)


def migrate_store(url: str, *, dry_run: bool = False) -> tuple[str, ...]:
    """Bring the tables of the store that *url* names up to date: the steps that were taken, or
    that would be (*dry_run*), oldest first; none if nothing is to be done.

    Programs that use the store go on working meanwhile. Raises :class:`Unsupported` for a store
    that needs no such thing, and :class:`StoreUnavailable` if the database is not there.
    """
    scheme = url.partition(":")[0]
    if scheme not in ("postgresql", "postgres"):
        open_store(url)  # is it a store at all
        raise Unsupported(
            "migrate",
            f"a {scheme} store has nothing to migrate",
            hint="name a database: --store postgresql://user@host/database",
        )
    config = postgres_config(url, {})
    try:
        from threadstore.stores.postgres.migrate import migrate, pending
    except ImportError as error:
        raise _not_installed(error) from error
    steps = (pending if dry_run else migrate)(config)
    return tuple(f"{step.version:04}_{step.name}" for step in steps)


def _not_installed(error: ImportError) -> Unsupported:
    return Unsupported(
        "postgresql",
        f"the PostgreSQL store needs packages that are not installed: {error}",
        hint="pip install 'threadstore[postgres]'",
    )


def postgres_config(url: str, options: dict[str, Any]) -> PostgresStoreConfig:
    """The settings in a ``postgresql://`` URL and *options*; the rest of the URL is for libpq."""
    rest, mark, text = url.partition("?")
    ours, theirs = {}, []
    for pair in filter(None, text.split("&")):
        name, _, value = pair.partition("=")
        if name in PostgresStoreConfig.__struct_fields__ and name != "dsn":
            from urllib.parse import unquote  # here: every start would pay for it

            ours[name] = unquote(value)
        else:
            theirs.append(pair)
    dsn = rest + (mark + "&".join(theirs) if theirs else "")
    return _config(PostgresStoreConfig, {**options, **ours, "dsn": dsn})


def _split(url: str, rest: str) -> tuple[str, dict[str, str]]:
    """The path and the options of a URL without its scheme."""
    path, _, text = rest.partition("?")
    options: dict[str, str] = {}
    for pair in filter(None, text.split("&")):
        option, equals, value = pair.partition("=")
        if not equals or not value or option in options:
            raise InvalidRequest(f"not an option of the form name=value: {pair!r} in {url!r}")
        options[option] = value
    return path, options


def _config(kind: type[Config], options: dict[str, Any]) -> Config:
    given = {option: value for option, value in options.items() if value is not None}
    unknown = sorted(given.keys() - set(kind.__struct_fields__))
    if unknown:
        raise InvalidRequest(
            f"unknown store option: {', '.join(unknown)}",
            hint=f"known options: {', '.join(kind.__struct_fields__)}",
        )
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"store options: {error}") from error
