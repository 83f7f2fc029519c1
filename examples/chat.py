"""A conversation on the terminal that can be left and taken up again, or go another way.

    OPENAI_BASE_URL=… python examples/chat.py MODEL            # begins one
    OPENAI_BASE_URL=… python examples/chat.py MODEL THREAD     # goes on with it

``/undo`` takes the last turn back, ``/redo`` brings it back, ``/fork`` goes on with a copy.
"""

from __future__ import annotations

import asyncio
import os
import sys

from threadstore import InvalidRequest, NewThread, ThreadManager, open_store
from threadstore.engine import AgentMessageDelta, Model, OpenAIModel, Session, SessionSettings


async def turn(session: Session, text: str) -> None:
    """One turn: what the model says, and why it failed if it did."""
    running = await session.start_turn(text)
    async for event in running:
        if isinstance(event, AgentMessageDelta):
            print(event.delta, end="", flush=True)
    result = await running.result()
    print(f"\n[{result.error.message}]" if result.error else "")


async def talk(threads: ThreadManager, model: Model, session: Session) -> None:
    """Read lines until there are no more."""
    print(f"thread {session.id}")
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        try:
            if line == "/undo":
                print("taken back:", *await session.revert(turns=1))
            elif line == "/redo":
                print("brought back:", *await session.redo())
            elif line == "/fork":
                source, session = session, await Session.fork(threads, session.id, model)
                await source.close()
                print(f"thread {session.id}")
            else:
                await turn(session, line)
        except InvalidRequest as error:  # nothing to take back, for example
            print(f"[{error}]")
    await session.close()


async def main(name: str, thread_id: str | None = None) -> None:
    settings = SessionSettings(model=name)
    model = OpenAIModel(os.environ.get("OPENAI_BASE_URL"), os.environ.get("OPENAI_API_KEY"))
    async with model, open_store("local:example-home") as store, ThreadManager(store) as threads:
        if thread_id is None:
            new = NewThread(cwd=os.getcwd())
            session = await Session.start(threads, new, model, settings=settings)
        else:
            session = await Session.resume(threads, thread_id, model, settings=settings)
        await talk(threads, model, session)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
