"""Record a conversation, name it, go on with it later, and find it again.

Run it with ``python examples/first_thread.py``. Give a folder to keep the thread in it.
"""

from __future__ import annotations

import asyncio
import sys

from threadstore import NewThread, RolloutItem, ThreadManager, ThreadMetadataPatch, open_store


def said(kind: str, text: str) -> RolloutItem:
    """A message as Codex writes it: ``user_message`` or ``agent_message``."""
    return RolloutItem("event_msg", {"type": kind, "message": text})


async def main(url: str) -> None:
    async with open_store(url) as store, ThreadManager(store) as threads:
        thread = await threads.create(NewThread(cwd="/repo", source={"custom": "example"}))
        await thread.append_items([said("user_message", "Why is the sky blue?")])
        await threads.update_thread_metadata(thread.id, ThreadMetadataPatch(name="Sky"))
        await threads.unload(thread.id)

        again = await threads.resume(thread.id)
        await again.append_items([said("agent_message", "Rayleigh scattering.")])

        for found in (await threads.list_threads()).items:
            print(found.id, found.display_name, "-", found.preview)


if __name__ == "__main__":
    asyncio.run(main(f"local:{sys.argv[1]}" if len(sys.argv) > 1 else "memory:"))
