"""What clients ask at their start about the world around threads."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.appserver.clients import Client
from tests.appserver.world import CONFIG, UNKNOWN, serving

from threadstore.appserver import Provider
from threadstore.stores.memory import MemoryThreadStore

EMPTY = [
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
    "thread/backgroundTerminals/list",
]


@pytest.mark.parametrize("method", EMPTY)
async def test_what_does_not_exist_here_is_an_empty_list(client: Client, method: str) -> None:
    assert (await client.ask(method, threadId=UNKNOWN))["data"] == []


async def test_the_configured_model_is_listed(client: Client) -> None:
    [model] = (await client.ask("model/list"))["data"]
    assert (model["id"], model["isDefault"]) == ("m1", True)


async def test_providers_are_listed_without_their_keys() -> None:
    secret = Provider(
        id="local",
        name="Local",
        base_url="http://127.0.0.1:1/v1",
        api_key="sk-secret",
        env_key="LOCAL_KEY",
        headers={"x-secret": "hush"},
    )
    openai = Provider(id="openai", name="OpenAI", base_url=None, api_key="sk-secret")
    config = msgspec.structs.replace(CONFIG, provider=secret, providers=(secret, openai))
    async with serving(MemoryThreadStore(), config=config) as world:
        client = await world.connect()
        answer = await client.ask("modelProvider/list")
        assert [each["id"] for each in answer["data"]] == ["local", "openai"]
        assert answer["defaultProviderId"] == "local"
        for method in ("config/read", "configRequirements/read", "model/list", "account/read"):
            await client.ask(method)
        assert "secret" not in str(client.heard)
        assert "hush" not in str(client.heard)


async def test_there_are_no_accounts(client: Client) -> None:
    account = await client.ask("account/read", refreshToken=False)
    assert (account["account"], account["requiresOpenaiAuth"]) == (None, False)
    limits = await client.ask("account/rateLimits/read")
    assert limits["rateLimits"]["primary"] is None


async def test_the_settings_are_read(client: Client) -> None:
    config = (await client.ask("config/read", includeLayers=False))["config"]
    assert (config["model"], config["model_provider"]) == ("m1", "scripted")
    assert (await client.ask("configRequirements/read"))["requirements"] is None


async def test_no_thread_has_a_goal(client: Client) -> None:
    thread_id = await client.start(cwd="/a")
    assert await client.ask("thread/goal/get", threadId=thread_id) == {"goal": None}
    refused = await client.refusal("thread/goal/get", threadId=UNKNOWN)
    assert refused.message == f"thread not found: {UNKNOWN}"


@pytest.mark.parametrize("method", ["account/login/start", "command/exec", "fs/readFile"])
async def test_what_is_not_offered_is_an_unknown_method(client: Client, method: str) -> None:
    params: dict[str, Any] = {"threadId": UNKNOWN, "command": "ls", "path": "/etc/passwd"}
    refused = await client.refusal(method, **params)
    assert refused.message == f"Invalid request: unknown variant `{method}`"
