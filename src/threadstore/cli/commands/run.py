"""``threadstore run``: one turn of an agent, streamed."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from threadstore.cli.context import Context
from threadstore.cli.resolve import ID_HELP, find_thread
from threadstore.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from threadstore.cli.streaming import View
    from threadstore.engine import OpenAIModel, Session, SessionSettings, Turn, TurnResult
    from threadstore.manager import ThreadManager

__all__ = ["EXIT_TURN_FAILED", "configure", "run"]

EXIT_TURN_FAILED: Final = 6
_EXIT_INTERRUPTED: Final = 130
_STORE_ERRORS: Final = {"conflict": 3, "store_unavailable": 4}
"""Exit codes of turns that failed because the store did."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``run``."""
    parser.description = """\
Give a model one turn: on a new thread, or on an existing one with all that was said before. What
the model says goes to stdout as it comes, everything else to stderr. Ctrl-C stops the turn and
keeps what there is; a second one leaves at once."""
    parser.epilog = """\
needs a server of OpenAI's Responses API: OpenAI's own with a key in OPENAI_API_KEY, or any other
that OPENAI_BASE_URL or --base-url names

examples:
  threadstore run "Explain this repository" --model gpt-5.1
  threadstore run --thread 01a201e8 "And the tests?"
  git diff | threadstore run - --instructions "Review this." --ephemeral > review.md
  threadstore run "What is 6 times 7?" --tools my_tools:multiply --base-url http://127.0.0.1:8000/v1
"""
    parser.add_argument("prompt", metavar="PROMPT", help="what to say; - reads it from stdin")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--thread", metavar="ID", help=f"go on with this thread: {ID_HELP}")
    where.add_argument("--fork", metavar="ID", help="go on with a copy of this thread")
    where.add_argument("--ephemeral", action="store_true", help="store nothing")
    parser.add_argument(
        "--model", metavar="NAME", help="default: the thread's, else THREADSTORE_MODEL"
    )
    parser.add_argument("--effort", metavar="WORD", help="reasoning effort: low, medium, high, …")
    parser.add_argument(
        "--instructions", metavar="TEXT", help="what the model is told first (default: built in)"
    )
    parser.add_argument(
        "--context-window", type=int, metavar="N", help="tokens that the model takes in"
    )
    parser.add_argument(
        "--image", metavar="PATH", action="append", default=[], help="show an image; repeatable"
    )
    parser.add_argument(
        "--cwd",
        metavar="DIR",
        help="working directory (default: the thread's; of a new thread this one)",
    )
    parser.add_argument(
        "--tools",
        metavar="MODULE:NAME",
        action="append",
        default=[],
        help="Python functions that the model may call; repeatable",
    )
    parser.add_argument("--ask", action="store_true", help="the model may ask you questions")
    parser.add_argument(
        "--base-url", metavar="URL", help="the model server (default: OPENAI_BASE_URL)"
    )
    parser.add_argument(
        "--api-key-env", metavar="NAME", help="variable with its key (default: OPENAI_API_KEY)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one event per line, the result last"
    )
    parser.add_argument("--quiet", action="store_true", help="only the answer, and errors")


async def run(context: Context, args: argparse.Namespace) -> int:
    """Run one turn. Nothing is stored before everything that was given is checked."""
    from threadstore.cli.streaming import JsonLines, Transcript
    from threadstore.cli.tool_loading import load_tools
    from threadstore.manager import ThreadManager

    given = _given(context, args)
    tools = load_tools(args.tools)
    async with (
        _model(args) as model,
        context.open_store() as store,
        ThreadManager(store) as threads,
        await _open(threads, args, model, tools) as session,
    ):
        view: View
        if args.json:
            view = JsonLines(context.console, session.id)
        else:
            again = _again(context, args, session.id)
            view = Transcript(context.console, session, quiet=args.quiet, again=again)
        result = await _turn(context, session, given, view)
        view.end(result)
    return _code(result)


def _code(result: TurnResult) -> int:
    if result.status == "interrupted":
        return _EXIT_INTERRUPTED
    if result.error is None:
        return 0
    info = result.error.info
    return _STORE_ERRORS.get(info, EXIT_TURN_FAILED) if isinstance(info, str) else EXIT_TURN_FAILED


# What is given


def _given(context: Context, args: argparse.Namespace) -> list[Any]:
    from threadstore.engine import LocalImage

    prompt = context.console.read_all() if args.prompt == "-" else args.prompt
    if not prompt.strip():
        raise InvalidRequest("the prompt is empty", hint="say what the model should do")
    for path in args.image:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise InvalidRequest(f"cannot read the image {path}: {error.strerror}") from error
    return [prompt, *(LocalImage(os.path.abspath(path)) for path in args.image)]


def _model(args: argparse.Namespace) -> OpenAIModel:
    from threadstore.engine import OpenAIModel

    variable = args.api_key_env or "OPENAI_API_KEY"
    key = os.environ.get(variable)
    if args.api_key_env and not key:
        raise InvalidRequest(f"the variable {variable} is not set", hint="--api-key-env names it")
    base_url = args.base_url or os.environ.get("OPENAI_BASE_URL") or None
    if base_url is None and not key:
        raise InvalidRequest(
            "no API key for the model",
            hint="set OPENAI_API_KEY, or name a server that needs none with --base-url",
        )
    return OpenAIModel(base_url, key or None)


def _settings(args: argparse.Namespace, known_model: str | None) -> SessionSettings:
    from threadstore.engine import SessionSettings

    model = args.model or known_model or os.environ.get("THREADSTORE_MODEL")
    if not model:
        raise InvalidRequest("no model is named", hint="give --model NAME or set THREADSTORE_MODEL")
    window = {} if args.context_window is None else {"context_window": args.context_window}
    return SessionSettings(
        model=model, reasoning_effort=args.effort, instructions=args.instructions, **window
    )


async def _open(
    threads: ThreadManager, args: argparse.Namespace, model: OpenAIModel, tools: list[Any]
) -> Session:
    import msgspec

    from threadstore.engine import AskUser, Session
    from threadstore.metadata import NewThread

    if args.ask:
        tools = [*tools, AskUser()]
    cwd = None if args.cwd is None else os.path.abspath(args.cwd)
    if cwd is not None and not os.path.isdir(cwd):
        raise InvalidRequest(f"no such folder: {cwd}")
    named = args.thread if args.thread is not None else args.fork
    if named is None:
        settings = _settings(args, None)
        new = NewThread(cwd=cwd or os.getcwd(), source="exec")
        return await Session.start(
            threads, new, model, settings=settings, tools=tools, ephemeral=args.ephemeral
        )
    stored = await find_thread(threads.store, named, archived=False)
    settings = _settings(args, stored.model)
    if args.thread is not None:
        settings = msgspec.structs.replace(settings, cwd=cwd)
        return await Session.resume(threads, stored.id, model, settings=settings, tools=tools)
    return await Session.fork(threads, stored.id, model, cwd=cwd, settings=settings, tools=tools)


def _again(context: Context, args: argparse.Namespace, thread_id: str) -> str | None:
    """The command that goes on with the thread; ``None``: it ends with this one."""
    if args.ephemeral or context.store_url.startswith("memory:"):
        return None
    url = args.store
    if url == "local:":
        store = ""
    else:  # what names a database may hold a password
        store = f"--store {shlex.quote(url) if url.startswith('local:') else '…'} "
    return f"threadstore {store}run --thread {thread_id} …"


# The turn


async def _turn(context: Context, session: Session, given: list[Any], view: View) -> TurnResult:
    from threadstore.engine import RequestUserInput, ToolCallRequest, ToolOutput

    turn = await session.start_turn(given)
    stopping: list[asyncio.Task[None]] = []

    async def stop() -> None:
        with suppress(InvalidRequest):  # it has just ended
            await session.interrupt(turn.id)

    with _ctrl_c(lambda: stopping.append(asyncio.create_task(stop()))):
        async for event in turn:
            view.show(event)
            if isinstance(event, RequestUserInput):
                await _answer(context, session, turn, event)
            elif isinstance(event, ToolCallRequest):
                nobody = f"{event.tool} cannot be called here: its program does not run"
                session.answer(event.call_id, ToolOutput(output=nobody, success=False))
        result = await turn.result()
    await asyncio.gather(*stopping)
    return result


async def _answer(context: Context, session: Session, turn: Turn, asked: Any) -> None:
    """Put the questions to the person at the terminal, for as long as the turn runs."""
    from threadstore.cli.asking import ask

    asking = asyncio.create_task(ask(context.console, asked.questions))
    ended = asyncio.create_task(turn.result())
    await asyncio.wait((asking, ended), return_when=asyncio.FIRST_COMPLETED)
    if asking.done():
        with suppress(InvalidRequest):  # the tool has given up
            session.answer(asked.call_id, asking.result())
    for task in (asking, ended):
        task.cancel()
    await asyncio.gather(asking, ended, return_exceptions=True)


@contextmanager
def _ctrl_c(interrupt: Callable[[], object]) -> Iterator[None]:
    """The first Ctrl-C calls *interrupt* in the loop, the second ends the program at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    pressed = 0

    def handle(*_: object) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            os._exit(_EXIT_INTERRUPTED)
        loop.call_soon_threadsafe(interrupt)

    inherited = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, inherited)
        sys.stdout.flush()
