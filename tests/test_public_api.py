"""What ``import threadstore`` offers, and what it costs."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import threadstore


def test_every_public_name_is_there_and_sorted() -> None:
    for name in threadstore.__all__:
        assert getattr(threadstore, name) is not None
    capitals = [name for name in threadstore.__all__ if name[0].isupper()]
    assert set(threadstore.__all__) <= set(dir(threadstore))
    assert [name for name in capitals if not name.isupper()] == sorted(
        name for name in capitals if not name.isupper()
    )
    assert len(set(threadstore.__all__)) == len(threadstore.__all__)


def test_type_checkers_and_the_program_see_the_same_names() -> None:
    tree = ast.parse(Path(threadstore.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    checked = {
        (str(node.module), alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("threadstore")
        for alias in node.names
    }
    served = {(f"threadstore.{module}", name) for name, module in threadstore._MODULES.items()}

    assert checked == served
    assert {name for _, name in served} | {"__version__"} == set(threadstore.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = threadstore.nonsense


def test_errors_are_the_matching_standard_exceptions_and_travel() -> None:
    for error, standard in [
        (threadstore.ThreadNotFound("x"), LookupError),
        (threadstore.InvalidRequest("x"), ValueError),
        (threadstore.CorruptHistory("x"), ValueError),
        (threadstore.Conflict("x"), RuntimeError),
        (threadstore.Unsupported("x"), NotImplementedError),
        (threadstore.StoreUnavailable("x"), OSError),
    ]:
        assert isinstance(error, standard)
        assert isinstance(error, threadstore.ThreadStoreError)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, threadstore;"
        "heavy = {'asyncio', 'typing', 'apsw', 'msgspec', 'backports', 'sqlite3'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
