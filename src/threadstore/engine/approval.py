"""Asking the user before a tool runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from threadstore.engine.tool_base import ToolCall, ToolContext

__all__ = ["is_approved"]

Json = dict[str, Any]

_QUESTION: Final = "approval"
_YES: Final = "Allow"
_LONGEST: Final = 2000


async def is_approved(call: ToolCall, context: ToolContext) -> bool:
    """Whether the user allows *call*; where nobody is asked (policy ``never``) everything is.

    No answer, or any other than the first option, is a refusal.
    """
    if not context.asks_approval:
        return True
    arguments = (
        call.arguments if len(call.arguments) <= _LONGEST else f"{call.arguments[:_LONGEST]}…"
    )
    question: Json = {
        "id": _QUESTION,
        "header": "Approval",
        "question": f"Allow {call.name}({arguments})?",
        "options": [
            {"label": _YES, "description": "Run it this time"},
            {"label": "Decline", "description": "Do not run it; the model is told"},
        ],
        "isOther": False,
        "isSecret": False,
    }
    answers = await context.ask_user(call, [question])
    return isinstance(answers, dict) and _first_answer(answers) == _YES


def _first_answer(answers: Json) -> Any:
    given = answers.get("answers")
    one = given.get(_QUESTION) if isinstance(given, dict) else None
    words = one.get("answers") if isinstance(one, dict) else None
    return words[0] if isinstance(words, list) and words else None
