"""Reviews: ordinary turns in which the model is asked for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from threadstore.appserver.narration import new_turn
from threadstore.appserver.params import ThreadParams

if TYPE_CHECKING:
    from threadstore.appserver.server import AppServer
    from threadstore.jsonrpc import Call

__all__ = ["ReviewParams", "start_review"]

Json = dict[str, Any]


class _Target(msgspec.Struct, tag_field="type", kw_only=True):
    pass


class _Uncommitted(_Target, tag="uncommittedChanges", kw_only=True):
    pass


class _BaseBranch(_Target, tag="baseBranch", kw_only=True):
    branch: str


class _Commit(_Target, tag="commit", kw_only=True):
    sha: str


class _Custom(_Target, tag="custom", kw_only=True):
    instructions: str


class ReviewParams(ThreadParams, kw_only=True):
    """What to review."""

    target: _Uncommitted | _BaseBranch | _Commit | _Custom


async def start_review(server: AppServer, _call: Call, params: ReviewParams) -> Json:
    """A turn on the thread. What the model sees of the code is up to the tools it has here."""
    thread = await server.writer(params.thread_id)
    turn = await thread.session.start_turn(_prompt(params))
    return {"turn": new_turn(turn.id), "reviewThreadId": thread.id}


def _prompt(params: ReviewParams) -> str:
    match params.target:
        case _Uncommitted():
            what = "all uncommitted changes in the working directory"
        case _BaseBranch(branch=branch):
            what = f"the changes between the current branch and {branch}"
        case _Commit(sha=sha):
            what = f"the changes of commit {sha}"
        case _Custom(instructions=instructions):
            return instructions
    return f"Review {what}. Say what is wrong, where, and how much it matters."
