"""``threadstore app-server``: Codex's own protocol over any store."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tomllib
from typing import TYPE_CHECKING, Any, Final

from threadstore.cli.context import Context
from threadstore.errors import InvalidRequest

if TYPE_CHECKING:
    from threadstore.appserver.access import Access

__all__ = ["configure", "run"]

_FIRST_THINGS_FIRST: Final = 3.0
"""Seconds after which what searches need is built: clients that come with the server go first."""
PATIENCE: Final = 0.5
"""Seconds that what still runs at the end has to take notice of that."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Options of ``app-server``."""
    parser.description = """\
Serve threads to clients of Codex's app server: its terminal client (codex --remote ws://…), its
Python SDK (CodexConfig(codex_bin="threadstore")), editor extensions. The threads are those of any
store. Model and provider are those of config.toml in CODEX_HOME, unless --config says otherwise."""
    parser.epilog = """\
examples:
  threadstore app-server --listen ws://127.0.0.1:8765 --config model="gpt-5.1"
  codex --remote ws://127.0.0.1:8765
  threadstore --store postgresql://db/threads app-server --listen unix:///run/threads.sock
  threadstore app-server --listen ws://0.0.0.0:8765 --ws-auth capability-token \\
    --ws-token-file /run/secrets/threads
"""
    parser.add_argument(
        "--listen",
        metavar="URL",
        default="stdio://",
        help="stdio:// (default), unix://PATH or ws://HOST:PORT",
    )
    parser.add_argument(
        "--stdio", dest="listen", action="store_const", const="stdio://", help=argparse.SUPPRESS
    )
    parser.add_argument(
        "-c",
        "--config",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="more_config",
        help='a setting as in config.toml, e.g. model_providers.local.base_url="http://…"',
    )
    parser.add_argument(
        "--tools",
        metavar="MODULE:NAME",
        action="append",
        default=[],
        help="Python functions that the model may call in every thread; repeatable",
    )
    _configure_access(parser.add_argument_group("who may connect by ws://, and what they may do"))


def _configure_access(group: argparse._ArgumentGroup) -> None:
    """Codex's flags for WebSockets, and ours."""
    group.add_argument(
        "--ws-auth",
        choices=["capability-token", "signed-bearer-token"],
        help="what clients send as bearer token; needed unless HOST is this machine only",
    )
    for flag, metavar, meaning in (
        ("--ws-token-file", "PATH", "file with the capability token"),
        ("--ws-token-sha256", "HEX", "or the SHA-256 of the capability token"),
        ("--ws-shared-secret-file", "PATH", "file with the secret of signed JWTs (HS256)"),
        ("--ws-issuer", "ISSUER", "what iss of a JWT must be"),
        ("--ws-audience", "AUDIENCE", "what aud of a JWT must have"),
    ):
        group.add_argument(flag, metavar=metavar, help=meaning)
    group.add_argument(
        "--ws-max-clock-skew-seconds",
        metavar="SECONDS",
        type=int,
        help="by which exp and nbf of a JWT may be off (default 30)",
    )
    group.add_argument(
        "--allow-origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="web pages that may connect, e.g. https://example.org; repeatable (default none)",
    )
    group.add_argument(
        "--allow-path",
        metavar="FOLDER",
        action="append",
        default=[],
        help="where the server reads images that clients name; repeatable (default nowhere)",
    )
    group.add_argument(
        "--max-requests",
        metavar="N",
        type=_requests,
        help="requests per second and client; 0: no limit (default 100, on this machine 0)",
    )


def _requests(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


async def run(context: Context, args: argparse.Namespace) -> int:
    """Serve until told to stop, or until stdin ends."""
    from threadstore.appserver import AppServer
    from threadstore.appserver.config import merged, overrides, server_config
    from threadstore.appserver.serving import serve
    from threadstore.cli.tool_loading import load_tools
    from threadstore.manager import ThreadManager

    said = overrides([*(args.config or ()), *args.more_config])
    home = _codex_home()
    config = server_config(merged(_config_file(home), said), os.environ, home=home)
    tools = load_tools(args.tools)
    access = _access(args)

    def ready(url: str) -> None:
        if url != "stdio://":
            print(f"listening on {url}", file=sys.stderr, flush=True)

    async with context.open_store() as store, ThreadManager(store) as manager:
        app = AppServer(manager, config, tools=tools, access=access)
        app.searching.begin(after=_FIRST_THINGS_FIRST)
        await serve(app, args.listen, ready=ready)
    await _leave_behind()
    return 0


def _access(args: argparse.Namespace) -> Access:
    from threadstore.appserver.access import WebSocketAuth, access_to

    auth = WebSocketAuth(
        mode=args.ws_auth,
        token_file=args.ws_token_file,
        token_sha256=args.ws_token_sha256,
        shared_secret_file=args.ws_shared_secret_file,
        issuer=args.ws_issuer,
        audience=args.ws_audience,
        max_clock_skew_seconds=args.ws_max_clock_skew_seconds,
    )
    return access_to(
        args.listen,
        auth,
        origins=args.allow_origin,
        image_folders=args.allow_path,
        requests_per_second=args.max_requests,
    )


async def _leave_behind() -> None:
    """End the process if a tool takes no notice of being cancelled: all that matters is kept."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks and (await asyncio.wait(tasks, timeout=PATIENCE))[1]:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _codex_home() -> str:
    return os.path.abspath(os.path.expanduser(os.environ.get("CODEX_HOME") or "~/.codex"))


def _config_file(home: str) -> dict[str, Any]:
    path = os.path.join(home, "config.toml")
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}", hint="mend it") from error
