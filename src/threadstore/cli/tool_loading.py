"""``--tools MODULE:NAME``: Python functions of the user as tools."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from typing import Any

from threadstore.errors import InvalidRequest

__all__ = ["load_tools"]

_HINT = "--tools my_tools:add names the function `add` in my_tools.py, here or installed"


def load_tools(names: Iterable[str]) -> list[Any]:
    """What each ``MODULE:NAME`` names: a callable, a ``Tool``, or a list of them.

    Modules are looked for in the working directory first. :class:`InvalidRequest` if one cannot be
    imported or has no such name.
    """
    tools: list[Any] = []
    for name in names:
        module, colon, path = name.partition(":")
        if not (module and colon and path):
            raise InvalidRequest(f"not MODULE:NAME: {name}", hint=_HINT)
        found = _attribute(_module(module), module, path)
        tools += found if isinstance(found, list | tuple) else [found]
    return tools


def _module(name: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except Exception as error:  # foreign code, which can fail in any way
        raise InvalidRequest(
            f"cannot import {name}: {type(error).__name__}: {error}", hint=_HINT
        ) from error


def _attribute(found: Any, module: str, path: str) -> Any:
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            raise InvalidRequest(f"{module} has no {path}", hint=_HINT) from None
    return found
