"""What the list index keeps with a thread so that nothing needs to be read twice."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from msgspec.structs import astuple

from threadstore.clock import from_ms
from threadstore.metadata import GitInfo, StoredThread, TokenUsage
from threadstore.stores.local.derive import Derived

if TYPE_CHECKING:
    from threadstore.stores.local.codec import zstd

__all__ = ["Entry"]

_LEVEL: Final = 1
"""Two threads that are hardly different and paths that repeat: any level finds that."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What the file says, and the result of merging that with row and name."""

    derived: Derived
    merged: StoredThread

    def pack(self) -> bytes:
        """The bytes to keep."""
        from threadstore.stores.local.codec import zstd

        return _compressor().compress(_plain(self), zstd.ZstdCompressor.FLUSH_FRAME)

    @classmethod
    def unpack(cls, data: bytes | None) -> Self | None:
        """The entry in kept bytes; ``None`` if there are none, or none that can be used."""
        if data is None:
            return None
        from threadstore.stores.local.codec import zstd

        try:
            plain = zstd.decompress(data, zstd_dict=_dictionary())
            derived, said, thread, merged = _decode(plain)
        except (zstd.ZstdError, msgspec.MsgspecError):
            return None
        fields = {
            "thread": None if thread is None else _thread(thread),
            "said": frozenset(field for field, bit in _BITS.items() if said & bit),
        }
        return cls(msgspec.structs.replace(derived, **fields), _thread(merged))


_FIELDS: Final = StoredThread.__struct_fields__
_BITS: Final = {field: 1 << number for number, field in enumerate(_FIELDS)}
_Values: Any = tuple[tuple(field.type for field in msgspec.structs.fields(StoredThread))]  # type: ignore[misc]
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[Derived, int, _Values | None, _Values]).decode


def _plain(entry: Entry) -> bytes:
    """Without the names of fields, which would be half of it."""
    derived = entry.derived
    thread = None if derived.thread is None else astuple(derived.thread)
    rest = msgspec.structs.replace(derived, thread=None, said=frozenset())
    said = sum(_BITS[field] for field in derived.said)
    return _encode((rest, said, thread, astuple(entry.merged)))


def _thread(values: tuple[Any, ...]) -> StoredThread:
    return StoredThread(**dict(zip(_FIELDS, values, strict=True)))


@functools.cache
def _compressor() -> zstd.ZstdCompressor:
    from threadstore.stores.local.codec import zstd

    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: _LEVEL,
        # With another dictionary the bytes would mean something else.
        zstd.CompressionParameter.checksum_flag: 1,
    }
    return zstd.ZstdCompressor(options=options, zstd_dict=_dictionary())


@functools.cache
def _dictionary() -> zstd.ZstdDict:
    """An entry like many others: what they have in common need not stand in each of them."""
    from threadstore.stores.local.codec import zstd

    start = from_ms(1_780_000_000_000)
    tokens = TokenUsage(input_tokens=12_345, output_tokens=678, total_tokens=13_023)
    thread = StoredThread(
        id="019b2f50-6c00-7000-8000-000000000000",
        session_id="019b2f50-6c00-7000-8000-000000000000",
        created_at=start,
        updated_at=start,
        recency_at=start,
        git=GitInfo(sha="0" * 40, branch="main", origin_url="https://github.com/"),
        model_provider="openai",
        model="gpt-5.1-codex",
        reasoning_effort="medium",
        cli_version="0.169.0",
        originator="codex_cli_rs",
        source="cli",
        sandbox_policy={"type": "workspace-write", "network_access": False},
        token_usage=tokens,
    )
    derived = Derived(
        path="/.codex/sessions/2026/05/28/rollout-2026-05-28T20-26-40-",
        size=1 << 16,
        mtime_ns=1_780_000_000_000_000_000,
        inode=1 << 20,
        archived=False,
        thread=thread,
        header=True,
    )
    return zstd.ZstdDict(_plain(Entry(derived, thread)), is_raw=True)
