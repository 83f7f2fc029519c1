"""``threadstore app-server``: Codex's own protocol over any store."""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from typing import Any

from threadstore.cli.context import Context
from threadstore.errors import InvalidRequest

__all__ = ["configure", "run"]


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

    def ready(url: str) -> None:
        if url != "stdio://":
            print(f"listening on {url}", file=sys.stderr, flush=True)

    async with context.open_store() as store, ThreadManager(store) as manager:
        app = AppServer(manager, config, tools=tools)
        await serve(app, args.listen, ready=ready)
    return 0


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
