"""The zstd of the standard library, or the same for older Pythons. Imported where data are
compressed: a list of threads needs none of it."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["zstd"]
