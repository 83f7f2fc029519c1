"""The table of commands and the argument parser built from it.

Only names and summaries are known here. A command's options come from its module, which is
imported when that command is parsed for, so that no command pays for another one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

TYPE_CHECKING = False  # spares every start the import of typing
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, NoReturn, Protocol

    from threadstore.cli.context import Context

    class CommandModule(Protocol):
        """What a module in ``threadstore.cli.commands`` offers."""

        def configure(self, parser: argparse.ArgumentParser) -> None:
            """Add the command's description, arguments and examples."""

        def run(self, context: Context, args: argparse.Namespace) -> Coroutine[Any, Any, int]:
            """Do it and return the exit code; errors are ``ThreadStoreError``."""


__all__ = ["COMMANDS", "UsageError", "build_parser", "load_command"]

COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("list_threads", "list threads"),
    "search": ("search", "find what was said in threads"),
    "show": ("show", "show everything known about a thread"),
    "turns": ("turns", "show the conversation, turn by turn"),
    "tail": ("tail", "show the end of a conversation, and what is added to it"),
    "run": ("run", "give a model one turn, on a new thread or an existing one"),
    "app-server": ("app_server", "serve threads to Codex's own clients"),
    "rename": ("rename", "name a thread, or take its name away"),
    "set": ("set_metadata", "set memory mode and git facts"),
    "archive": ("archive", "put a thread and its sub-agents away"),
    "unarchive": ("unarchive", "bring an archived thread back"),
    "delete": ("delete", "delete a thread and its sub-agents for good"),
    "fork": ("fork", "start a new thread from an existing one"),
    "export": ("export", "write a thread as Markdown, JSON or rollout lines"),
    "doctor": ("doctor", "find (and mend) what is damaged, stale or invisible"),
    "copy": ("copy", "copy threads to another store, or what is new of them"),
    "migrate": ("migrate", "bring the tables of a database up to date"),
    "repair": ("repair", "write a damaged log again so that Codex reads it"),
    "tour": ("tour", "show your threads, or an example conversation"),
}
"""Command → its module in ``threadstore.cli.commands``, and one line of help."""

_EPILOG = """\
an ID is a thread id, the first characters of one (at least 4), or the exact name of a thread

examples:
  threadstore list --cwd .                threads of this folder
  threadstore search parser error         threads in which that was said
  threadstore turns 01a201e8              the conversation of one of them
  threadstore export 01a201e8 --format md --output parser.md
  threadstore run --thread 01a201e8 "And now the tests"

exit codes:
  0 done    1 unexpected error    2 bad input, or no such thread    3 conflict
  4 store unavailable    5 doctor found a warning or an error, migrate --check a step to take
  6 run: the turn failed

environment:
  CODEX_HOME         home of the default store (else ~/.codex)
  CODEX_SQLITE_HOME  folder of its databases
  OPENAI_API_KEY, OPENAI_BASE_URL, THREADSTORE_MODEL  the model of run
"""


class UsageError(Exception):
    """The arguments are wrong; ``message`` says how and ``hint`` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        # The width is given because argparse would import shutil to find it.
        super().__init__(prog, max_help_position=30, width=min(_terminal_width() - 2, 100))
        # argparse forgets that commands are indented when it looks for the longest one.
        self._action_max_length = max(map(len, COMMANDS)) + 4


class _Parser(argparse.ArgumentParser):
    """A parser that raises :class:`UsageError` instead of printing it."""

    def __init__(self, *, command: str | None = None, **options: Any) -> None:
        """*command*: whose options it gets when it is used. It is not made before, as argparse
        looks for translations of its headings each time, which takes as long as a list of threads
        for all commands."""
        self._command = command
        self._options = options
        if command is None:
            self._make()

    def _make(self) -> None:
        super().__init__(formatter_class=_Formatter, allow_abbrev=False, **self._options)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> Any:
        if self._command is not None:
            self._make()
            self.add_argument("-h", "--help", action="help", help="show this help and exit")
            load_command(self._command).configure(self)
            _add_common_options(self, store=argparse.SUPPRESS, debug=argparse.SUPPRESS)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see `{self.prog} --help`")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from threadstore.version import VERSION

        print(f"threadstore {VERSION}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = _Parser(
        prog="threadstore",
        description="Conversation threads of AI agents, shared with OpenAI Codex.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    _add_common_options(parser, store="local:", debug=False)
    # Codex's SDK says the settings of app-server before its name.
    parser.add_argument("-c", "--config", action="append", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(
        dest="command",
        metavar="COMMAND",
        title="commands",
        required=True,
        parser_class=_Parser,
        prog="threadstore",
    )
    for name, (_, summary) in COMMANDS.items():
        commands.add_parser(
            name, help=summary, command=name, prog=f"threadstore {name}", add_help=False
        )
    return parser


def load_command(name: str) -> CommandModule:
    """Import the module of a command."""
    import importlib

    module: Any = importlib.import_module(f"threadstore.cli.commands.{COMMANDS[name][0]}")
    return module  # type: ignore[no-any-return]


def _add_common_options(parser: argparse.ArgumentParser, *, store: str, debug: bool | str) -> None:
    """``--store`` and ``--debug`` may stand before or after a command; with these defaults."""
    parser.add_argument(
        "--store",
        metavar="URL",
        default=store,
        help="the store: local:PATH of a Codex home (default local:), postgresql://…, or memory:",
    )
    parser.add_argument(
        "--debug", action="store_true", default=debug, help="show the traceback of an error"
    )


def _terminal_width() -> int:
    try:
        return int(os.environ["COLUMNS"])
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size().columns
    except (OSError, ValueError):
        return 80
