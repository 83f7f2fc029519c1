"""One request of the model client to a scripted server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from threadstore.engine.model import ModelError, ModelEvent, ModelRequest
from threadstore.engine.openai_model import OpenAIModel
from threadstore.testing.model_server import Answer, ScriptedModelServer

Json = dict[str, Any]
HELLO: Json = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "hello"}],
}
REQUEST = ModelRequest(model="m-1", instructions="Be brief.", input=(HELLO,))
SECRET = "sk-very-secret"


async def ask(
    script: Sequence[Answer] | Callable[[Json], Answer],
    request: ModelRequest = REQUEST,
    **options: Any,
) -> tuple[list[ModelEvent], ModelError | None, ScriptedModelServer]:
    """One request to a server with *script*: its events, the error if any, and the server."""
    seen: list[ModelEvent] = []
    failed = None
    with ScriptedModelServer(script) as server:
        async with OpenAIModel(server.base_url, SECRET, **options) as model:
            try:
                async for event in model.stream(request):
                    seen.append(event)  # noqa: PERF401 - what came before the error counts
            except ModelError as error:
                failed = error
    return seen, failed, server


async def refusal(answer: Answer, **options: Any) -> ModelError:
    """The error of one request that is answered with *answer*, and asked no second time."""
    _, error, server = await ask([answer], **options)
    assert error is not None
    assert len(server.requests) == 1
    assert SECRET not in str(error)
    return error
