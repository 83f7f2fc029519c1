"""What clients ask at their start about the world around threads: models, accounts, settings.

Answered truthfully for a server that has no accounts, no plugins and no terminals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.appserver.handlers.review import ReviewParams, start_review
from threadstore.appserver.handlers.shell import ShellParams, refuse_command
from threadstore.appserver.params import NoParams, ThreadParams

if TYPE_CHECKING:
    from threadstore.appserver.config import Provider
    from threadstore.appserver.server import AppServer
    from threadstore.jsonrpc import Call

__all__ = ["register"]

Json = dict[str, Any]

_EFFORTS: Final = ("low", "medium", "high")
_EMPTY_LISTS: Final = (
    "collaborationMode/list",
    "hooks/list",
    "experimentalFeature/list",
    "permissionProfile/list",
    "mcpServerStatus/list",
    "skills/list",
    "app/list",
    "threadSection/list",
    "project/list",
    "thread/attachment/list",
)


def register(server: AppServer) -> None:
    """Add the methods of this module."""
    server.method("model/list", list_models, NoParams)
    server.method("modelProvider/list", list_providers, NoParams)
    server.method("account/read", read_account, NoParams)
    server.method("account/rateLimits/read", read_limits, NoParams)
    server.method("config/read", read_config, NoParams)
    server.method("configRequirements/read", read_requirements, NoParams)
    server.method("thread/goal/get", read_goal, ThreadParams)
    server.method("review/start", start_review, ReviewParams)
    server.method("thread/shellCommand", refuse_command, ShellParams)
    server.method("thread/backgroundTerminals/list", nothing_found, msgspec.Raw)
    for name in _EMPTY_LISTS:
        server.method(name, nothing_found, msgspec.Raw)


async def list_models(server: AppServer, _call: Call, _params: NoParams) -> Json:
    """The one model that is configured; any other can be named all the same."""
    name = server.config.model
    models = [] if name is None else [_model(name)]
    return {"data": models, "nextCursor": None}


def _model(name: str) -> Json:
    efforts = [{"reasoningEffort": effort, "description": ""} for effort in _EFFORTS]
    return {
        "id": name,
        "model": name,
        "upgrade": None,
        "upgradeInfo": None,
        "availabilityNux": None,
        "displayName": name,
        "description": "The configured model",
        "hidden": False,
        "supportedReasoningEfforts": efforts,
        "defaultReasoningEffort": "medium",
        "inputModalities": ["text", "image"],
        "supportsPersonality": False,
        "additionalSpeedTiers": [],
        "serviceTiers": [],
        "isDefault": True,
    }


async def list_providers(server: AppServer, _call: Call, _params: NoParams) -> Json:
    """The providers that are configured."""
    return {
        "data": [_provider(provider) for provider in server.config.providers],
        "defaultProviderId": server.config.provider.id,
        "canChangeDefault": False,
    }


def _provider(provider: Provider) -> Json:
    settings: Json = {"type": "openai"}
    if provider.id != "openai":
        auth: Json = {"mode": "none"}
        if provider.env_key is not None:
            auth = {"mode": "environmentVariable", "envKey": provider.env_key}
        settings = {"type": "customGateway", "auth": auth}
    return {
        "id": provider.id,
        "name": provider.name,
        "baseUrl": None,
        "canEdit": False,
        "settings": settings,
    }


async def read_account(_server: AppServer, _call: Call, _params: NoParams) -> Json:
    """There are no accounts."""
    return {"account": None, "userId": None, "requiresOpenaiAuth": False, "workspaceRouting": None}


async def read_limits(_server: AppServer, _call: Call, _params: NoParams) -> Json:
    """Limits belong to accounts."""
    unknown = {"limitId": None, "limitName": None, "primary": None, "secondary": None}
    return {"rateLimits": {**unknown, "credits": None, "planType": None}}


async def read_config(server: AppServer, _call: Call, _params: NoParams) -> Json:
    """The settings that clients look at."""
    config = server.config
    shown = {
        "model": config.model,
        "model_provider": config.provider.id,
        "approval_policy": config.approval_policy,
        "sandbox_mode": config.sandbox_mode,
        "model_reasoning_effort": config.reasoning_effort,
    }
    known = {key: value for key, value in shown.items() if value is not None}
    return {"config": known, "origins": {}, "layers": []}


async def read_requirements(_server: AppServer, _call: Call, _params: NoParams) -> Json:
    """Nothing is required."""
    return {"requirements": None}


async def read_goal(server: AppServer, _call: Call, params: ThreadParams) -> Json:
    """Goals are Codex's own: no thread has one."""
    await server.manager.read(server.thread_id(params.thread_id))
    return {"goal": None}


async def nothing_found(_server: AppServer, _call: Call, _params: msgspec.Raw) -> Json:
    """An empty list of what does not exist here."""
    return {"data": [], "nextCursor": None}
