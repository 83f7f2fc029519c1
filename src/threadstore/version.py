"""The version of this package, written into every header as ``cli_version``."""

from typing import Final

__all__ = ["VERSION"]

VERSION: Final = "0.1.0"
