"""Compressed rollouts (``.jsonl.zst``, Codex 0.144 and later): decoding, and making them plain."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from threadstore.errors import InvalidRequest
from threadstore.stores.local.paths import plain_path, sync_folder, unavailable

if TYPE_CHECKING:
    from threadstore.stores.local.codec import zstd

__all__ = ["DecodingError", "decoded_chunks", "materialise", "zstd"]

_READ: Final = 1 << 17
_STEP: Final = 1 << 17  # a decoding step that fails loses what it decoded: one zstd block at most
_numbers: Final = itertools.count()


def __getattr__(name: str) -> Any:
    """``zstd``, imported when it is asked for."""
    if name != "zstd":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from threadstore.stores.local.codec import zstd

    return zstd


class DecodingError(Exception):
    """Compressed data end too early or are damaged; everything before it was handed out."""


def decoded_chunks(descriptor: int) -> Iterator[bytes]:
    """The decoded content of an open compressed file (one frame or more), from its beginning.

    Raises DecodingError where the data are damaged, OSError if they cannot be read.
    """
    from threadstore.stores.local.codec import zstd

    offset, decoder, data, fresh = 0, zstd.ZstdDecompressor(), b"", True
    while True:
        if decoder.eof:
            data, decoder, fresh = decoder.unused_data, zstd.ZstdDecompressor(), True
        if not data and decoder.needs_input:
            data = os.pread(descriptor, _READ, offset)
            offset += len(data)
            if not data:
                if fresh and offset:
                    return
                raise DecodingError("the compressed data end too early")
        try:
            chunk = decoder.decompress(data, _STEP)
        except zstd.ZstdError as error:
            raise DecodingError(f"the compressed data are damaged: {error}") from error
        data, fresh = b"", False
        if chunk:
            yield chunk


def materialise(path: str) -> None:
    """Turn the compressed rollout of the plain *path* into a plain file, as Codex 0.169 does.

    The plain file appears at once and complete, durable, with the mode and modification time of
    the compressed one, which goes away. Nothing happens if there is a plain file already.

    Raises FileNotFoundError if there is neither, InvalidRequest if the data are damaged (both
    files stay as they are), StoreUnavailable if the disk fails.
    """
    plain = plain_path(path)
    if os.path.exists(plain):
        return
    compressed = plain + ".zst"
    temporary = f"{plain}.decompress.{os.getpid()}.{next(_numbers)}.tmp"
    try:
        source = os.open(compressed, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _decode_to(source, temporary)
        finally:
            os.close(source)
        with contextlib.suppress(FileExistsError):  # another process made it plain meanwhile
            os.link(temporary, plain)
            sync_folder(os.path.dirname(plain) or ".")
            os.unlink(compressed)
    except FileNotFoundError:
        if not os.path.exists(plain):
            raise
    except DecodingError as error:
        raise InvalidRequest(
            f"cannot append to {plain}: {error}",
            hint="the thread can still be read up to the damage; fork it to go on",
        ) from error
    except OSError as error:
        raise unavailable(error, f"cannot decompress {compressed}") from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _decode_to(source: int, target: str) -> None:
    """Decode into the new file *target*, with the mode and times of *source*, and sync it."""
    info = os.fstat(source)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(target, flags, 0o600), "wb") as file:
        file.writelines(decoded_chunks(source))
        file.flush()
        os.fchmod(file.fileno(), stat.S_IMODE(info.st_mode))
        os.utime(file.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
        os.fsync(file.fileno())
