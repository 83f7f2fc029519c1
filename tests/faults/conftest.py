"""Disks that are full, users without rights, and databases that somebody has locked."""

from __future__ import annotations

from tests.stores.local.conftest import locked, public_folder

__all__ = ["locked", "public_folder"]
