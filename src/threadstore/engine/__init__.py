"""The turn engine: sessions that drive a model, keep every item, and count tokens truthfully.

See README.md beside this file for who owns what.
"""

from __future__ import annotations

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
