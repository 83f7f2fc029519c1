"""An agent in 20 lines: ``OPENAI_BASE_URL=… python examples/agent.py MODEL "Roll two dice"``."""

import asyncio
import os
import random
import sys

from threadstore import NewThread, ThreadManager, open_store
from threadstore.engine import AgentMessageDelta, OpenAIModel, Session, SessionSettings


def roll(sides: int = 6) -> int:
    """Roll a die."""
    return random.randint(1, sides)


async def main(name: str, prompt: str) -> None:
    model = OpenAIModel(os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY"))
    new, settings = NewThread(cwd=os.getcwd()), SessionSettings(model=name)
    async with model, open_store("local:example-home") as store, ThreadManager(store) as threads:
        agent = await Session.start(threads, new, model, settings=settings, tools=[roll])
        turn = await agent.start_turn(prompt)
        async for event in turn:
            if isinstance(event, AgentMessageDelta):
                print(event.delta, end="", flush=True)
        print(f"\n{(await turn.result()).status}: thread {agent.id}")
        await agent.close()


asyncio.run(main(*sys.argv[1:]))
