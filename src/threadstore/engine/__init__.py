"""The turn engine: sessions that drive a model, keep every item, and count tokens truthfully.

See README.md beside this file for who owns what.
"""

from __future__ import annotations

from threadstore.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threadstore.engine.events import (
        AgentMessage,
        AgentMessageDelta,
        AgentReasoning,
        AgentReasoningRawContent,
        ContextCompacted,
        ErrorEvent,
        Event,
        ItemCompleted,
        ItemStarted,
        ReasoningDelta,
        ReasoningRawContentDelta,
        RequestUserInput,
        StreamError,
        TaskComplete,
        TaskStarted,
        ThreadRolledBack,
        TokenCount,
        ToolCallRequest,
        TurnAborted,
        UserMessage,
        WebSearchEnd,
    )
    from threadstore.engine.inputs import Image, LocalImage, Text, UserInput
    from threadstore.engine.model import Model, ModelError, ModelRequest
    from threadstore.engine.openai_model import OpenAIModel
    from threadstore.engine.session import Session
    from threadstore.engine.settings import SessionSettings
    from threadstore.engine.tools import (
        AskUser,
        ClientTool,
        FunctionTool,
        Tool,
        ToolCall,
        ToolOutput,
        tool,
    )
    from threadstore.engine.turn import Turn, TurnResult

__all__ = [
    "AgentMessage",
    "AgentMessageDelta",
    "AgentReasoning",
    "AgentReasoningRawContent",
    "AskUser",
    "ClientTool",
    "ContextCompacted",
    "ErrorEvent",
    "Event",
    "FunctionTool",
    "Image",
    "ItemCompleted",
    "ItemStarted",
    "LocalImage",
    "Model",
    "ModelError",
    "ModelRequest",
    "OpenAIModel",
    "ReasoningDelta",
    "ReasoningRawContentDelta",
    "RequestUserInput",
    "Session",
    "SessionSettings",
    "StreamError",
    "TaskComplete",
    "TaskStarted",
    "Text",
    "ThreadRolledBack",
    "TokenCount",
    "Tool",
    "ToolCall",
    "ToolCallRequest",
    "ToolOutput",
    "Turn",
    "TurnAborted",
    "TurnResult",
    "UserInput",
    "UserMessage",
    "WebSearchEnd",
    "tool",
]

# Where the names come from. Each is imported when it is first used: an app server that only lists
# needs the events and inputs, and no session.
_HOMES = {
    "events": (
        "AgentMessage",
        "AgentMessageDelta",
        "AgentReasoning",
        "AgentReasoningRawContent",
        "ContextCompacted",
        "ErrorEvent",
        "Event",
        "ItemCompleted",
        "ItemStarted",
        "ReasoningDelta",
        "ReasoningRawContentDelta",
        "RequestUserInput",
        "StreamError",
        "TaskComplete",
        "TaskStarted",
        "ThreadRolledBack",
        "TokenCount",
        "ToolCallRequest",
        "TurnAborted",
        "UserMessage",
        "WebSearchEnd",
    ),
    "inputs": (
        "Image",
        "LocalImage",
        "Text",
        "UserInput",
    ),
    "model": (
        "Model",
        "ModelError",
        "ModelRequest",
    ),
    "openai_model": ("OpenAIModel",),
    "session": ("Session",),
    "settings": ("SessionSettings",),
    "tool_base": (
        "Tool",
        "ToolCall",
        "ToolOutput",
    ),
    "tools": (
        "AskUser",
        "ClientTool",
        "FunctionTool",
        "tool",
    ),
    "turn": (
        "Turn",
        "TurnResult",
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
__getattr__ = lazy_names(__name__, globals(), _MODULES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
