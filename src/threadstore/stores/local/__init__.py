"""The local store: threads in the files of a Codex home."""

from threadstore.stores.local.store import LocalThreadStore

__all__ = ["LocalThreadStore"]
