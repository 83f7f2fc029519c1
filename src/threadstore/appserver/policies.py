"""What clients say of approvals and sandboxes. Our engine runs no commands: it is kept and told."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from threadstore.protocol.values import camel_keys, snake_keys

__all__ = [
    "ApprovalPolicy",
    "SandboxMode",
    "SandboxPolicy",
    "protocol_sandbox",
    "stored_approval",
    "stored_sandbox",
]

Json = dict[str, Any]


class _Grains(msgspec.Struct, kw_only=True):
    mcp_elicitations: bool
    rules: bool
    sandbox_approval: bool
    request_permissions: bool = False
    skill_approval: bool = False


class _Granular(msgspec.Struct, kw_only=True):
    granular: _Grains


ApprovalPolicy: TypeAlias = Literal["untrusted", "on-failure", "on-request", "never"] | _Granular


class _Sandbox(msgspec.Struct, kw_only=True, rename="camel", tag_field="type"):
    pass


class _FullAccess(_Sandbox, kw_only=True, tag="dangerFullAccess"):
    pass


class _ReadOnly(_Sandbox, kw_only=True, tag="readOnly"):
    network_access: bool = False


class _External(_Sandbox, kw_only=True, tag="externalSandbox"):
    network_access: Literal["restricted", "enabled"] = "restricted"


class _Workspace(_Sandbox, kw_only=True, tag="workspaceWrite"):
    writable_roots: list[str] = msgspec.field(default_factory=list)
    network_access: bool = False
    exclude_tmpdir_env_var: bool = False
    exclude_slash_tmp: bool = False


SandboxPolicy: TypeAlias = _FullAccess | _ReadOnly | _External | _Workspace
SandboxMode: TypeAlias = Literal["read-only", "workspace-write", "danger-full-access"]

_MODES: Final[dict[str, SandboxPolicy]] = {
    "read-only": _ReadOnly(),
    "workspace-write": _Workspace(),
    "danger-full-access": _FullAccess(),
}
_STORED: Final = {
    "dangerFullAccess": "danger-full-access",
    "readOnly": "read-only",
    "workspaceWrite": "workspace-write",
    "externalSandbox": "external-sandbox",
}


def stored_approval(policy: ApprovalPolicy | None) -> str | Json | None:
    """A policy as settings hold it. ``on-failure`` (up to 0.131) is ``on-request`` since."""
    if isinstance(policy, _Granular):
        kept: Json = msgspec.to_builtins(policy)
        return kept
    return "on-request" if policy == "on-failure" else policy


def stored_sandbox(given: SandboxMode | SandboxPolicy) -> Json:
    """A sandbox mode or policy of the protocol as histories hold it."""
    policy: Json = msgspec.to_builtins(_MODES[given] if isinstance(given, str) else given)
    kind = _STORED[policy.pop("type")]
    if kind == "read-only" and not policy["networkAccess"]:
        policy = {}  # as Codex writes it
    fields: Json = snake_keys(policy)
    return {"type": kind, **fields}


def protocol_sandbox(policy: Json) -> Json:
    """A stored sandbox policy as the protocol writes it."""
    words = {stored: word for word, stored in _STORED.items()}
    kind = words.get(str(policy.get("type")), "readOnly")
    fields: Json = camel_keys({key: value for key, value in policy.items() if key != "type"})
    if kind == "readOnly":
        fields.setdefault("networkAccess", False)
    return {"type": kind, **fields}
