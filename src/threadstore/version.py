"""The version of this package, written into every header as ``cli_version``."""

__all__ = ["VERSION"]

VERSION = "0.1.0"
