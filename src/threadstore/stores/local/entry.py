"""What the list index keeps with a thread so that nothing needs to be read twice."""

from __future__ import annotations

from typing import Final, Self

import msgspec

from threadstore.metadata import StoredThread
from threadstore.stores.local.derive import Derived

__all__ = ["Entry"]

_LEVEL: Final = 1
"""An entry says the same texts several times; any level makes that a fifth."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What the file says, and the result of merging that with row and name."""

    derived: Derived
    merged: StoredThread

    def pack(self) -> bytes:
        """The bytes to keep."""
        from threadstore.stores.local.codec import zstd

        return zstd.compress(_encode(self), _LEVEL)

    @classmethod
    def unpack(cls, data: bytes | None) -> Self | None:
        """The entry in kept bytes; ``None`` if there are none, or none that can be used."""
        if data is None:
            return None
        from threadstore.stores.local.codec import zstd

        try:
            return _decode(zstd.decompress(data))  # type: ignore[return-value]
        except (zstd.ZstdError, msgspec.MsgspecError):
            return None


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Entry).decode
