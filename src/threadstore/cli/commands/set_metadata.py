"""``threadstore set``: memory mode and git facts."""

from __future__ import annotations

import argparse
from typing import Final

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.errors import InvalidRequest
from threadstore.metadata import UNSET, GitInfoPatch, ThreadMetadataPatch

__all__ = ["configure", "run"]

_GIT: Final = {
    "branch": ("NAME", "branch"),
    "sha": ("SHA", "commit"),
    "origin_url": ("URL", "URL of the remote (credentials in it are dropped)"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``set``."""
    parser.description = "Set memory mode and git facts of a thread. What is not named stays."
    parser.epilog = """\
an empty value is refused; a fact is taken away with its --clear option

examples:
  threadstore set 01a201e8 --memory-mode disabled
  threadstore set 01a201e8 --git-branch main --clear-git-sha
"""
    parser.add_argument("id", metavar="ID", help=ID_HELP)
    parser.add_argument(
        "--memory-mode",
        choices=["enabled", "disabled"],
        help="whether memories may be made of the thread",
    )
    for field, (metavar, what) in _GIT.items():
        option = "git-" + field.replace("_", "-")
        either = parser.add_mutually_exclusive_group()
        either.add_argument(f"--{option}", metavar=metavar, help=f"git {what}")
        either.add_argument(f"--clear-{option}", action="store_true", help="take it away")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Set what was named."""
    patch = _patch(args)
    from threadstore.manager import ThreadManager

    async with context.open_store() as store:
        thread = await find_thread(store, args.id)
        await ThreadManager(store).update_thread_metadata(thread.id, patch, include_archived=True)
    context.console.line(f"{thread.id} updated")
    return 0


def _patch(args: argparse.Namespace) -> ThreadMetadataPatch:
    git: dict[str, str | None] = {}
    for field in _GIT:
        value = getattr(args, f"git_{field}")
        if getattr(args, f"clear_git_{field}"):
            git[field] = None
        elif value is not None:
            git[field] = _not_blank(value, field)
    if not git and args.memory_mode is None:
        raise InvalidRequest("nothing to set", hint="see `threadstore set --help`")
    return ThreadMetadataPatch(
        git=GitInfoPatch(**git) if git else UNSET,
        memory_mode=UNSET if args.memory_mode is None else args.memory_mode,
    )


def _not_blank(value: str, field: str) -> str:
    if not value.strip():
        option = "git-" + field.replace("_", "-")
        raise InvalidRequest(f"--{option} is empty", hint=f"use --clear-{option} to take it away")
    return value
