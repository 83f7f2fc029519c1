"""Packages whose names are imported when they are first used: nobody pays for another's face."""

from __future__ import annotations

TYPE_CHECKING = False  # spares every start the import of typing
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, namespace: dict[str, Any], homes: Mapping[str, str]
) -> Callable[[str], Any]:
    """The ``__getattr__`` (PEP 562) of a package: *homes* says for each name which module it
    comes from. A name that was used once is kept in *namespace*."""

    def get(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        import importlib

        value = namespace[name] = getattr(importlib.import_module(f"{package}.{home}"), name)
        return value

    return get
