"""Copies of threads from one store to another: exact, resumable, and the same when made again."""

from __future__ import annotations

from threadstore.copying.threads import CopiedThread, Copier, all_thread_ids

__all__ = ["CopiedThread", "Copier", "all_thread_ids"]
