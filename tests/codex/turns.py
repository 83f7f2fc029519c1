"""Turns that we write ourselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threadstore.ids import new_thread_id
from threadstore.testing import items

if TYPE_CHECKING:
    from threadstore.history.items import RolloutItem


def our_turn(thread_id: str, mode: str, cwd: str, text: str = "A turn by us") -> list[RolloutItem]:
    """A turn in the form that threads of this history mode have."""
    turn_id = new_thread_id()
    turn = items.turn(turn_id, text, "Answered by us", cwd=cwd)
    if mode == "legacy":
        return turn
    content = [{"type": "Text", "text": "Answered by us"}]
    answer = {"type": "AgentMessage", "id": f"{turn_id}-agent", "content": content}
    instead = {
        "user_message": items.user_item_completed(thread_id, turn_id, text),
        "agent_message": items.item_completed(thread_id, turn_id, answer),
    }
    return [instead.get(item.kind or "", item) for item in turn]
