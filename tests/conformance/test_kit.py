"""The kit can fail: every store with a mistake in it is caught, by the cases meant for it."""

from __future__ import annotations

import os
import re

import pytest

import threadstore.testing.cases  # noqa: F401 - or every run inside a test imports it anew

_BROKEN = os.path.join(os.path.dirname(__file__), "broken_stores.py")
_CLASS = re.compile(r"^class ([A-Z]\w+)\((?:MemoryThreadStore|_Patches)\)", re.MULTILINE)
with open(_BROKEN, encoding="utf-8") as _file:
    _NAMES = _CLASS.findall(_file.read())


@pytest.mark.parametrize("name", _NAMES)
def test_a_mistake_is_caught(pytester: pytest.Pytester, name: str) -> None:
    result = pytester.runpytest_inprocess(
        f"{_BROKEN}::Test{name}", "--maxfail=1", "-q", "-p", "no:cacheprovider"
    )
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed") == 1
    assert "errors" not in outcomes


def test_no_mistake_is_left_out() -> None:
    assert len(_NAMES) > 20
