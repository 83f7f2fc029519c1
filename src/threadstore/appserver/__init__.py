"""The app server: Codex's v2 protocol over any store (see README.md)."""

from __future__ import annotations

from threadstore.appserver.config import Provider, ServerConfig, server_config
from threadstore.appserver.server import AppServer

__all__ = ["AppServer", "Provider", "ServerConfig", "server_config"]
