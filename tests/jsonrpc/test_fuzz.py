"""Random bytes and random JSON: the server answers a good request afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.jsonrpc.desk import Desk
from tests.jsonrpc.peers import KINDS, serving

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
_METHODS = st.sampled_from(["echo", "any", "refuse", "replyFirst", "hear", "question", "nope"])
_MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-3, 3) | _JSON,
        "method": _METHODS | st.just("$/cancelRequest") | _JSON,
        "params": st.fixed_dictionaries({}, optional={"word": _JSON, "id": _JSON}) | _JSON,
        "result": _JSON,
        "error": st.fixed_dictionaries({}, optional={"code": _JSON, "message": _JSON}) | _JSON,
        "jsonrpc": _JSON,
        "emittedAtMs": _JSON,
    },
)
_ENCODED = (_MESSAGES | _JSON).map(msgspec.json.encode)


@st.composite
def _torn(draw: st.DrawFn) -> bytes:
    """A good beginning, bytes that are not, and what may follow."""
    raw = draw(_ENCODED)
    at = draw(st.integers(0, len(raw)))
    return raw[:at] + draw(st.binary(max_size=4)) + raw[at + draw(st.integers(0, 4)) :]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(messages=st.lists(_ENCODED | _torn() | st.binary(max_size=200), max_size=12))
def test_the_server_survives(kind: str, messages: list[bytes]) -> None:
    asyncio.run(_survives(kind, messages))


async def _survives(kind: str, messages: list[bytes]) -> None:
    with tempfile.TemporaryDirectory(prefix="ts") as path:
        async with serving(kind, Path(path), Desk().dispatcher, grace_seconds=0) as wire:
            peer, other = await wire.connect(), await wire.connect()
            await peer.send(*messages)
            assert (await peer.ask("any", 1, id="a good one"))["result"] == 1
            assert (await other.ask("any", 2))["result"] == 2
