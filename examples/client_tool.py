"""A tool that runs outside the session, as an editor or a browser would offer it, and a question.

    OPENAI_BASE_URL=… python examples/client_tool.py MODEL "Ask me which file to open, then open it"

The thread keeps the description of the tool, so that whoever resumes it can offer it again.
"""

from __future__ import annotations

import asyncio
import os
import sys

from threadstore import NewThread, ThreadManager, open_store
from threadstore.engine import (
    AgentMessage,
    AskUser,
    OpenAIModel,
    RequestUserInput,
    Session,
    SessionSettings,
    ToolCallRequest,
    ToolOutput,
)

OPEN_FILE = {
    "name": "open_file",
    "description": "Open a file in the editor.",
    "inputSchema": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
}


async def main(name: str, prompt: str) -> None:
    new = NewThread(cwd=os.getcwd(), dynamic_tools=(OPEN_FILE,))
    model = OpenAIModel(os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY"))
    async with (
        model,
        open_store("local:example-home") as store,
        ThreadManager(store) as threads,
        await Session.start(
            threads, new, model, settings=SessionSettings(model=name), tools=[AskUser()]
        ) as session,
    ):
        async for event in session.run(prompt):
            match event:
                case ToolCallRequest(tool="open_file", call_id=call_id, arguments=arguments):
                    path = arguments.get("path")
                    known = isinstance(path, str) and os.path.exists(path)
                    text = f"opened {path}" if known else f"there is no {path}"
                    session.answer(call_id, ToolOutput(output=text, success=known))
                case RequestUserInput(call_id=call_id, questions=questions):
                    answers = {}
                    for question in questions:
                        print(question["question"])
                        line = await asyncio.to_thread(sys.stdin.readline)
                        answers[question["id"]] = {"answers": [line.strip()]}
                    session.answer(call_id, {"answers": answers})
                case AgentMessage(message=message):
                    print(message)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
