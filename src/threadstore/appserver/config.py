"""What a server is told when it starts, in the words of Codex's ``config.toml``."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from threadstore.appserver.policies import ApprovalPolicy, SandboxMode, stored_approval
from threadstore.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Provider", "ServerConfig", "overrides", "server_config"]

Json = dict[str, Any]

_OPENAI: Final = "https://api.openai.com/v1"


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model is served."""

    id: str
    name: str
    base_url: str | None
    api_key: str | None = None
    env_key: str | None = None
    """Where the key comes from; shown to the user if it is missing."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of all threads that say nothing else."""

    model: str | None = None
    provider: Provider
    providers: tuple[Provider, ...] = ()
    home: str = ""
    """What clients are told as ``codexHome``."""
    reasoning_effort: str | None = None
    instructions: str | None = None
    developer_instructions: str | None = None
    approval_policy: str | Json = "on-request"
    sandbox_mode: SandboxMode = "read-only"
    context_window: int | None = None
    compact_at: int | None = None
    max_retries: int | None = None


def overrides(given: Iterable[str]) -> Json:
    """``key.path=value`` pairs as a nested table; the value is TOML, else plain text (Codex)."""
    table: Json = {}
    for pair in given:
        path, sign, text = pair.partition("=")
        if not sign or not path.strip():
            raise InvalidRequest(f"no setting: {pair!r}", hint="--config key=value")
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        place = table
        *parents, last = path.strip().split(".")
        for key in parents:
            inner = place.setdefault(key, {})
            if not isinstance(inner, dict):
                raise InvalidRequest(f"{key} in {pair!r} is a value already")
            place = inner
        place[last] = value
    return table


def merged(base: Json, above: Json) -> Json:
    """*base* with the tables and values of *above*."""
    result = dict(base)
    for key, value in above.items():
        known = result.get(key)
        both = isinstance(known, dict) and isinstance(value, dict)
        result[key] = merged(known, value) if both and isinstance(known, dict) else value
    return result


def server_config(table: Json, environment: Mapping[str, str], *, home: str = "") -> ServerConfig:
    """The settings that *table*, a Codex configuration, says; keys it does not know are ignored.

    Keys of providers come from the *environment*. Raises :class:`InvalidRequest` for values of a
    wrong type and for a provider that is named and not described.
    """
    tables = table.get("model_providers") or {}
    if not isinstance(tables, dict):
        raise InvalidRequest("model_providers must be a table")
    providers = {key: _provider(key, value, environment) for key, value in tables.items()}
    base = environment.get("OPENAI_BASE_URL") or table.get("openai_base_url") or _OPENAI
    openai = Provider(
        id="openai",
        name="OpenAI",
        base_url=base,
        api_key=environment.get("OPENAI_API_KEY"),
        env_key="OPENAI_API_KEY",
    )
    providers.setdefault("openai", openai)
    wanted = table.get("model_provider", "openai")
    if wanted not in providers:
        raise InvalidRequest(
            f"unknown model provider: {wanted}", hint=f"describe it in model_providers.{wanted}"
        )
    fields = {
        "model": table.get("model"),
        "reasoning_effort": table.get("model_reasoning_effort"),
        "instructions": table.get("instructions"),
        "developer_instructions": table.get("developer_instructions"),
        "sandbox_mode": table.get("sandbox_mode", "read-only"),
        "context_window": table.get("model_context_window"),
        "compact_at": table.get("model_auto_compact_token_limit"),
        "max_retries": (tables.get(wanted) or {}).get("stream_max_retries"),
    }
    try:
        return msgspec.convert(
            {
                **fields,
                "approval_policy": stored_approval(
                    msgspec.convert(table.get("approval_policy", "on-request"), ApprovalPolicy)
                ),
                "provider": providers[wanted],
                "providers": (*providers.values(),),
                "home": home,
            },
            ServerConfig,
        )
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"configuration: {error}") from error


def _provider(key: str, table: Any, environment: Mapping[str, str]) -> Provider:
    if not isinstance(table, dict):
        raise InvalidRequest(f"model_providers.{key} must be a table")
    env_key = table.get("env_key")
    api_key = table.get("experimental_bearer_token")
    if api_key is None and env_key is not None:
        api_key = environment.get(str(env_key))
    headers = dict(table.get("http_headers") or {})
    for name, variable in (table.get("env_http_headers") or {}).items():
        if environment.get(variable):
            headers[name] = environment[variable]
    try:
        return msgspec.convert(
            {
                "id": key,
                "name": table.get("name") or key,
                "base_url": table.get("base_url"),
                "api_key": api_key,
                "env_key": env_key,
                "headers": headers,
            },
            Provider,
        )
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"model_providers.{key}: {error}") from error
