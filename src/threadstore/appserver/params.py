"""What clients send: the parameters of the methods, checked by their types.

Names and shapes are those of Codex's v2 protocol (0.131 and 0.169). What a client sends beyond them
is passed over, so that newer clients work.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from threadstore.appserver.policies import ApprovalPolicy, SandboxMode, SandboxPolicy

__all__ = [
    "ArchiveParams",
    "ForkParams",
    "GitInfoChange",
    "InitializeParams",
    "InjectItemsParams",
    "InterruptParams",
    "ItemsListParams",
    "ItemsReadParams",
    "LoadedListParams",
    "MemoryModeParams",
    "MetadataUpdateParams",
    "NoParams",
    "ReadParams",
    "ResumeParams",
    "RevertParams",
    "RollbackParams",
    "SearchOccurrencesParams",
    "SearchParams",
    "SetNameParams",
    "SettingsUpdateParams",
    "StartParams",
    "SteerParams",
    "ThreadListParams",
    "ThreadParams",
    "TurnStartParams",
    "TurnsListParams",
]

Json = dict[str, Any]
Direction = Literal["asc", "desc"]


class _Params(msgspec.Struct, rename="camel", kw_only=True):
    pass


class NoParams(_Params, kw_only=True):
    """Nothing, or nothing that matters here."""


class ClientInfo(_Params, kw_only=True):
    """Who asks."""

    name: str
    version: str = ""
    title: str | None = None


class Capabilities(_Params, kw_only=True):
    """What the client can do and does not want."""

    experimental_api: bool = False
    opt_out_notification_methods: list[str] | None = None


class InitializeParams(_Params, kw_only=True):
    client_info: ClientInfo
    capabilities: Capabilities | None = None


class _Overrides(_Params, kw_only=True):
    """Settings that may come with a thread or a turn; ``None``: as it is."""

    model: str | None = None
    cwd: str | None = None
    approval_policy: ApprovalPolicy | None = None


class _Opening(_Overrides, kw_only=True):
    model_provider: str | None = None
    sandbox: SandboxMode | None = None
    base_instructions: str | None = None
    developer_instructions: str | None = None
    config: Json | None = None


class StartParams(_Opening, kw_only=True):
    ephemeral: bool | None = None
    history_mode: Literal["legacy", "paginated"] | None = None
    dynamic_tools: list[Json] | None = None
    thread_source: str | None = None
    service_name: str | None = None


class TurnsPageParams(_Params, kw_only=True):
    limit: int | None = None
    sort_direction: Direction | None = None
    items_view: Literal["notLoaded", "summary", "full"] | None = None


class ResumeParams(_Opening, kw_only=True):
    thread_id: str
    path: str | None = None
    history: list[Any] | None = None
    exclude_turns: bool = False
    initial_turns_page: TurnsPageParams | None = None


class ForkParams(_Opening, kw_only=True):
    thread_id: str
    path: str | None = None
    last_turn_id: str | None = None
    before_turn_id: str | None = None
    ephemeral: bool = False
    exclude_turns: bool = False
    thread_source: str | None = None


class ThreadParams(_Params, kw_only=True):
    """A thread, and nothing else."""

    thread_id: str


class ArchiveParams(ThreadParams, kw_only=True):
    pass


class ReadParams(ThreadParams, kw_only=True):
    include_turns: bool = False


class SetNameParams(ThreadParams, kw_only=True):
    name: str


class GitInfoChange(_Params, kw_only=True):
    """Git facts to change: absent, cleared (``None``) or set."""

    sha: str | msgspec.UnsetType | None = msgspec.UNSET
    branch: str | msgspec.UnsetType | None = msgspec.UNSET
    origin_url: str | msgspec.UnsetType | None = msgspec.UNSET


class MetadataUpdateParams(ThreadParams, kw_only=True):
    git_info: GitInfoChange | None = None


class MemoryModeParams(ThreadParams, kw_only=True):
    mode: Literal["enabled", "disabled"]


class SettingsUpdateParams(_Overrides, kw_only=True):
    thread_id: str
    effort: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    sandbox_policy: SandboxPolicy | None = None


class InjectItemsParams(ThreadParams, kw_only=True):
    items: list[Any]


class RevertParams(ThreadParams, kw_only=True):
    before_turn_id: str


class RollbackParams(ThreadParams, kw_only=True):
    num_turns: int


class ThreadListParams(_Params, kw_only=True):
    cursor: str | None = None
    limit: int | None = None
    sort_key: str | None = None
    sort_direction: Direction | None = None
    archived: bool | None = None
    cwd: str | list[str] | None = None
    model_providers: list[str] | None = None
    source_kinds: list[str] | None = None
    search_term: str | None = None
    parent_thread_id: str | None = None
    ancestor_thread_id: str | None = None
    section_id: str | None = None
    project_id: str | None = None
    attached_to_thread_id: str | None = None
    excluded_thread_ids: list[str] | None = None
    originators: list[str] | None = None


class LoadedListParams(_Params, kw_only=True):
    cursor: str | None = None
    limit: int | None = None


class TurnsListParams(TurnsPageParams, kw_only=True):
    thread_id: str
    cursor: str | None = None


class ItemsListParams(_Params, kw_only=True):
    thread_id: str
    turn_id: str | None = None
    cursor: Any = None
    limit: int | None = None
    sort_direction: Direction | None = None


class ItemsReadParams(_Params, kw_only=True):
    thread_id: str
    turn_id: str
    item_ids: list[str]


class SearchParams(_Params, kw_only=True):
    search_term: str
    cursor: str | None = None
    limit: int | None = None
    archived: bool | None = None
    sort_key: str | None = None
    sort_direction: Direction | None = None
    source_kinds: list[str] | None = None


class SearchOccurrencesParams(ThreadParams, kw_only=True):
    search_term: str
    cursor: str | None = None
    limit: int | None = None


class TurnStartParams(SettingsUpdateParams, kw_only=True):
    input: list[Json]
    client_user_message_id: str | None = None
    output_schema: Json | None = None
    tool_output: Json | None = None


class SteerParams(ThreadParams, kw_only=True):
    input: list[Json]
    expected_turn_id: str
    client_user_message_id: str | None = None


class InterruptParams(ThreadParams, kw_only=True):
    turn_id: str
