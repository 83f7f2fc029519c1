"""From arguments to an exit code: parse, run the command, report what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from threadstore.cli.parser import UsageError, build_parser, load_command

TYPE_CHECKING = False  # spares every start the import of typing
if TYPE_CHECKING:
    import argparse

    from threadstore.cli.context import Context
    from threadstore.errors import ThreadStoreError

__all__ = ["exit_code", "run"]

EXIT_UNEXPECTED = 1
EXIT_BAD_INPUT = 2
EXIT_CONFLICT = 3
EXIT_UNAVAILABLE = 4
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; raises nothing."""
    _open_closed_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _parse_and_execute(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return EXIT_BROKEN_PIPE
    except OSError as error:  # the output's disk is full, most likely
        _forget_stdout()
        where = f": {error.filename}" if error.filename else ""
        _report("unexpected", f"{error.strerror or error}{where}", None, as_json="--json" in words)
        return EXIT_UNEXPECTED
    return code


def _parse_and_execute(words: list[str]) -> int:
    as_json = "--json" in words
    try:
        args = build_parser().parse_args(words)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except UsageError as error:
        _report("invalid_request", error.message, error.hint, as_json=as_json)
        return EXIT_BAD_INPUT
    return _execute(args, as_json=as_json)


def _execute(args: argparse.Namespace, *, as_json: bool) -> int:
    from threadstore.cli.context import Context
    from threadstore.errors import ThreadStoreError

    try:
        return _run_command(args.command, Context.of(args), args)
    except ThreadStoreError as error:
        if args.debug:
            _print_traceback()
        _report(error.code, error.message, error.hint, as_json=as_json)
        return exit_code(error)
    except OSError:
        if args.debug:
            _print_traceback()
        raise
    except Exception as error:  # noqa: BLE001 - people get a sentence, --debug the traceback
        if args.debug:
            _print_traceback()
        message = f"unexpected {type(error).__name__}: {error}"
        hint = "this is a bug; run it again with --debug and report what it prints"
        _report("unexpected", message, None if args.debug else hint, as_json=as_json)
        return EXIT_UNEXPECTED


def _run_command(name: str, context: Context, args: argparse.Namespace) -> int:
    """Run a command; without an event loop, which takes longer to import than ``list`` takes to
    list, where neither command nor store waits for anything but the disk."""
    coroutine = load_command(name).run(context, args)
    if name == "list" and context.store_url.startswith("local:"):
        try:
            coroutine.send(None)
        except StopIteration as done:
            return int(done.value)
        raise RuntimeError("this command needs an event loop")
    import asyncio

    return asyncio.run(coroutine)


def exit_code(error: ThreadStoreError) -> int:
    """The exit code of an error: programs may rely on it."""
    from threadstore import errors

    if isinstance(error, errors.Conflict):
        return EXIT_CONFLICT
    if isinstance(error, errors.StoreUnavailable):
        return EXIT_UNAVAILABLE
    known = (
        errors.ThreadNotFound,
        errors.InvalidRequest,
        errors.Unsupported,
        errors.CorruptHistory,
    )
    return EXIT_BAD_INPUT if isinstance(error, known) else EXIT_UNEXPECTED


def _report(code: str, message: str, hint: str | None, *, as_json: bool) -> None:
    """One error on stderr: two lines for people, one JSON object for programs."""
    if as_json:
        import json

        error = {"code": code, "message": message, "hint": hint}
        text = json.dumps({"error": error})
    else:
        from threadstore.cli.text import clean, one_line

        text = f"threadstore: {one_line(message)}"
        if hint:
            text += f"\nhint: {clean(hint)}"
    try:
        print(text, file=sys.stderr)
    except OSError:  # nobody listens
        pass


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _open_closed_streams() -> None:
    """A stream that the caller has closed is ``None``; use one that leads nowhere instead."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115 - lives as long as we


def _forget_stdout() -> None:
    """Keep the interpreter from flushing what cannot be written once more when it ends."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # stdout is no file of its own
        pass
