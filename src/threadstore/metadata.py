"""The metadata of a thread: what is stored, and the one patch type that changes it."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from types import UnionType
from typing import Any, Final, Literal, TypeAlias, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import FieldInfo, astuple

from threadstore.clock import floor_ms
from threadstore.errors import InvalidRequest
from threadstore.git_url import strip_credentials
from threadstore.token_usage import ThreadUsage, TokenUsage

__all__ = [
    "UNSET",
    "GitInfo",
    "GitInfoPatch",
    "HistoryBase",
    "MetadataOrigin",
    "NewThread",
    "Section",
    "SessionSource",
    "StoredThread",
    "ThreadMetadataPatch",
    "ThreadUsage",
    "TokenUsage",
    "check_fields",
    "is_subagent",
    "source_kind",
    "source_parent",
    "thread_of",
]

SessionSource: TypeAlias = str | dict[str, Any]
"""Where a thread was started, in Codex's JSON form: a word (``cli``, ``vscode``, ``exec``, ``mcp``,
``unknown``) or an object (``{"custom": "atlas"}``, ``{"subagent": {"thread_spawn": {…}}}``, …)."""

HistoryMode: TypeAlias = Literal["legacy", "paginated"]
MemoryMode: TypeAlias = str
"""``enabled`` or ``disabled``; Codex also writes ``polluted`` itself."""


class MetadataOrigin(StrEnum):
    """Who says it: a caller (user, API), or history through observation."""

    EXPLICIT = "explicit"
    OBSERVED = "observed"

    @classmethod
    def of(cls, said: str) -> MetadataOrigin:
        """The origin that a caller named; its word will do, and nothing else is taken for one."""
        try:
            return cls(said)
        except ValueError as error:
            raise InvalidRequest(
                f"no origin of metadata: {said!r}", hint="say EXPLICIT or OBSERVED"
            ) from error


class GitInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Git facts of the thread's working directory."""

    sha: str | None = None
    branch: str | None = None
    origin_url: str | None = None
    """Always without credentials: they are taken out when the object is made."""

    def __post_init__(self) -> None:
        _strip_origin(self)


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A section of Codex's own thread list (0.150 and later); readable here, never patched."""

    id: str
    name: str
    appearance: str | None = None


class HistoryBase(msgspec.Struct, frozen=True, kw_only=True):
    """The inherited, immutable prefix of a thread that was forked by reference."""

    thread_id: str
    position: int
    """Number of lines of the source's log that belong to the fork."""


class StoredThread(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a store knows about one thread. Times are aware UTC datetimes, paths are ``str``."""

    id: str
    session_id: str | None = None
    """Shared by a root thread and its sub-agents (Codex 0.142 and later); else the thread's id."""
    rollout_path: str | None = None
    """The plain ``.jsonl`` path on local stores, also while no file exists yet; else ``None``."""
    history_mode: str = "legacy"
    forked_from_id: str | None = None
    parent_thread_id: str | None = None

    name: str | None = None
    """Said by a user. Never touched by observation."""
    title: str | None = None
    """Derived from the first user message (text only)."""
    preview: str = ""
    """First user message, goal or ``[Image]``; empty while there is none."""
    first_user_message: str | None = None

    created_at: dt.datetime
    updated_at: dt.datetime
    recency_at: dt.datetime
    """When a user turn last began; until then the creation time."""
    archived_at: dt.datetime | None = None

    cwd: str = ""
    git: GitInfo | None = None
    model_provider: str
    model: str | None = None
    reasoning_effort: str | None = None
    cli_version: str = ""
    originator: str | None = None
    source: SessionSource = "unknown"
    thread_source: str | None = None
    agent_nickname: str | None = None
    agent_role: str | None = None
    agent_path: str | None = None
    approval_mode: str | dict[str, Any] = "on-request"
    sandbox_policy: dict[str, Any] | None = None
    permission_profile: dict[str, Any] | None = None
    token_usage: TokenUsage | None = None
    """Codex's number: the total in the last ``token_count`` event with info. It includes what a
    fork took over, and jumps to the size of the window when the context overflows."""
    usage: ThreadUsage | None = None
    """What was used, own and inherited apart; ``None``: no response was counted."""
    memory_mode: str = "enabled"

    section: Section | None = None
    section_position: int | None = None
    section_entered_at: dt.datetime | None = None
    project_id: str | None = None
    daybreak_enabled: bool | None = None
    creator_user_id: str | None = None
    creator_account_id: str | None = None
    extra_config: dict[str, Any] | None = None

    @property
    def archived(self) -> bool:
        """Whether the thread is archived."""
        return self.archived_at is not None

    @property
    def display_name(self) -> str:
        """What to show as its name: the explicit name, else the preview's first line."""
        return self.name or self.preview.split("\n", 1)[0]


class NewThread(msgspec.Struct, frozen=True, kw_only=True):
    """What ``create_thread`` needs to know. Checked when it is made (:class:`InvalidRequest`)."""

    cwd: str
    """Working directory; ``""`` if the thread has no file-system environment."""
    id: str | None = None
    """A UUID; ``None``: the store makes one (version 7)."""
    session_id: str | None = None
    forked_from_id: str | None = None
    parent_thread_id: str | None = None
    history_base: HistoryBase | None = None
    """Fork by reference, where ``capabilities.fork_by_reference`` says so."""
    history_mode: HistoryMode = "legacy"
    source: SessionSource = "cli"
    thread_source: str | None = None
    agent_nickname: str | None = None
    agent_role: str | None = None
    agent_path: str | None = None
    originator: str = "threadstore"
    """``""``: not known."""
    cli_version: str | None = None
    """``None``: this package's version."""
    model_provider: str | None = None
    """``None``: the store's default."""
    base_instructions: str | None = None
    dynamic_tools: tuple[dict[str, Any], ...] = ()
    memory_mode: MemoryMode = "enabled"
    git: GitInfo | None = None
    created_at: dt.datetime | None = None
    """An aware datetime, for a thread that began elsewhere; ``None``: now."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.created_at is not None and self.created_at.tzinfo is None:
            raise InvalidRequest("created_at must be an aware datetime", hint="use UTC")


class GitInfoPatch(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A change of git facts, field by field: absent, cleared (``None``) or set. A URL loses its
    credentials when the patch is made, so that no store ever sees them."""

    sha: str | UnsetType | None = UNSET
    branch: str | UnsetType | None = UNSET
    origin_url: str | UnsetType | None = UNSET

    def __post_init__(self) -> None:
        check_fields(self)
        for field in ("sha", "branch", "origin_url"):
            _check_text(field, getattr(self, field))
        _strip_origin(self)

    def is_empty(self) -> bool:
        """Whether no field is present."""
        return self.sha is UNSET and self.branch is UNSET and self.origin_url is UNSET

    def merge(self, newer: GitInfoPatch) -> GitInfoPatch:
        """This patch followed by *newer*, as one."""
        return msgspec.structs.replace(self, **_present(newer))

    def apply(self, git: GitInfo | None) -> GitInfo | None:
        """The git facts after this patch; ``None`` when nothing is left."""
        new = msgspec.structs.replace(git or GitInfo(), **_present(self))
        return None if new == GitInfo() else new


class ThreadMetadataPatch(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """A sparse change of metadata: the one way to write it.

    Each field is absent (``UNSET``: unchanged), ``None`` (cleared, where its type allows) or a
    value. The JSON form (:meth:`to_json`, :meth:`from_json`) keeps all three apart. A wrong type is
    :class:`InvalidRequest` when the patch is made, so no store ever sees one.
    """

    name: str | UnsetType | None = UNSET
    title: str | UnsetType = UNSET
    preview: str | UnsetType = UNSET
    first_user_message: str | UnsetType = UNSET
    created_at: dt.datetime | UnsetType = UNSET
    updated_at: dt.datetime | UnsetType = UNSET
    advance_recency_at: dt.datetime | UnsetType = UNSET
    """Moves ``recency_at`` forward, never back."""
    cwd: str | UnsetType = UNSET
    git: GitInfoPatch | UnsetType = UNSET
    model_provider: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    reasoning_effort: str | UnsetType | None = UNSET
    cli_version: str | UnsetType = UNSET
    source: SessionSource | UnsetType = UNSET
    thread_source: str | UnsetType | None = UNSET
    agent_nickname: str | UnsetType | None = UNSET
    agent_role: str | UnsetType | None = UNSET
    agent_path: str | UnsetType | None = UNSET
    approval_mode: str | dict[str, Any] | UnsetType = UNSET
    sandbox_policy: dict[str, Any] | UnsetType = UNSET
    permission_profile: dict[str, Any] | UnsetType = UNSET
    token_usage: TokenUsage | UnsetType = UNSET
    usage: ThreadUsage | UnsetType = UNSET
    memory_mode: Literal["enabled", "disabled"] | UnsetType = UNSET
    originator: str | UnsetType = UNSET
    """Fills a missing value; never replaces one. So do the two creator ids."""
    creator_user_id: str | UnsetType = UNSET
    creator_account_id: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        check_fields(self)
        if isinstance(self.name, str) and not self.name.strip():
            raise InvalidRequest(
                "a thread name must not be empty", hint="use None to clear the name"
            )
        _check_text("name", self.name)
        if isinstance(self.git, GitInfoPatch) and self.git.is_empty():
            raise InvalidRequest("a git patch must include at least one field")
        for field in ("created_at", "updated_at", "advance_recency_at"):
            moment = getattr(self, field)
            if isinstance(moment, dt.datetime) and moment.tzinfo is None:
                raise InvalidRequest(f"{field} must be an aware datetime", hint="use UTC")

    def is_empty(self) -> bool:
        """Whether no field is present."""
        return not _count(self)

    def present(self) -> dict[str, Any]:
        """The fields that are present, by name."""
        return _present(self)

    def has_facts(self) -> bool:
        """Whether it says more than "touched at": any field but ``name`` and ``updated_at``."""
        return any(field not in _NOT_FACTS for field in _present(self))

    def only_touches(self) -> bool:
        """Whether it says "updated at" and nothing else."""
        return self.updated_at is not UNSET and _count(self) == 1

    def merge(self, newer: ThreadMetadataPatch) -> ThreadMetadataPatch:
        """This patch followed by *newer*, as one; git merges field by field."""
        changes = _present(newer)
        if isinstance(self.git, GitInfoPatch) and isinstance(newer.git, GitInfoPatch):
            changes["git"] = self.git.merge(newer.git)
        mine, theirs = self.advance_recency_at, newer.advance_recency_at
        if isinstance(mine, dt.datetime) and isinstance(theirs, dt.datetime):
            changes["advance_recency_at"] = max(mine, theirs)
        return msgspec.structs.replace(self, **changes)

    def apply(self, thread: StoredThread) -> StoredThread:
        """*thread* after this patch, literally; times to the millisecond, as stores keep them."""
        if self.only_touches() and isinstance(self.updated_at, dt.datetime):  # most patches
            return msgspec.structs.replace(thread, updated_at=floor_ms(self.updated_at))
        changes = _present(self)
        if isinstance(self.git, GitInfoPatch):
            changes["git"] = self.git.apply(thread.git)
        moment = changes.pop("advance_recency_at", None)
        if moment is not None:
            changes["recency_at"] = max(thread.recency_at, moment)
        for field in _FILL_MISSING:
            if getattr(thread, field) is not None:
                changes.pop(field, None)
        if isinstance(self.name, str):
            changes["name"] = self.name.strip()
        for field in _TIMES & changes.keys():
            changes[field] = floor_ms(changes[field])
        return msgspec.structs.replace(thread, **changes)

    def to_json(self) -> bytes:
        """Compact JSON in snake_case: absent fields left out, cleared ones ``null``."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> ThreadMetadataPatch:
        """The inverse of :meth:`to_json`; :class:`InvalidRequest` on anything else."""
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InvalidRequest(f"not a metadata patch: {error}") from error


_TIMES: Final = frozenset({"created_at", "updated_at", "recency_at"})
_NOT_FACTS: Final = frozenset({"name", "updated_at"})
_FILL_MISSING: Final = ("originator", "creator_user_id", "creator_account_id")


def _check_text(field: str, text: Any) -> None:
    """What people say is kept as UTF-8; arguments of a command can hold anything."""
    if isinstance(text, str) and not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(f"{field} cannot be written as UTF-8: {text!r}") from error


def _strip_origin(git: GitInfo | GitInfoPatch) -> None:
    if isinstance(git.origin_url, str) and "@" in git.origin_url:
        msgspec.structs.force_setattr(git, "origin_url", strip_credentials(git.origin_url))


def _present(patch: msgspec.Struct) -> dict[str, Any]:
    values = zip(patch.__struct_fields__, astuple(patch), strict=True)
    return {field: value for field, value in values if value is not UNSET}


def _count(patch: msgspec.Struct) -> int:
    """How many fields are present."""
    values = astuple(patch)
    return len(values) - values.count(UNSET)


_checks: dict[type, tuple[tuple[FieldInfo, ...], tuple[frozenset[Any], ...]]] = {}


def check_fields(value: msgspec.Struct) -> None:
    """Check the fields of a struct made in Python as decoding would have checked them.

    Raises :class:`InvalidRequest` with the name of the field.
    """
    cls = type(value)
    checks = _checks.get(cls)
    if checks is None:
        fields = msgspec.structs.fields(cls)
        checks = _checks[cls] = fields, tuple(_settled(field.type) for field in fields)
    fields, settled = checks
    values = astuple(value)
    if all(map(frozenset.__contains__, settled, map(type, values))):
        return  # most patches: they are made on every append
    for field, known, given in zip(fields, settled, values, strict=True):
        if type(given) in known:
            continue
        try:
            checked = msgspec.convert(given, field.type, builtin_types=(dt.datetime,))
            if isinstance(given, (dict, tuple)):
                msgspec.json.encode(given)  # what is inside was not looked at
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise InvalidRequest(f"{cls.__name__}.{field.name}: {error}") from error
        if isinstance(checked, msgspec.Struct):
            if checked is not given:
                expected = type(checked).__name__
                raise InvalidRequest(f"{cls.__name__}.{field.name}: expected {expected}")
            check_fields(checked)  # made in Python, too
        elif isinstance(given, dict):
            for part in given.values():
                if isinstance(part, msgspec.Struct):
                    check_fields(part)


def _settled(hint: Any) -> frozenset[Any]:
    """The types of *hint* whose values need no closer look."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return frozenset(
        option for option in options if option in (str, int, type(None), UnsetType, dt.datetime)
    )


def source_kind(source: SessionSource) -> str:
    """One word for a source: ``cli``, ``vscode``, ``exec``, ``mcp``, ``custom``, ``internal``,
    ``subagent_review``, ``subagent_compact``, ``subagent_memory_consolidation``,
    ``subagent_thread_spawn``, ``subagent_other`` or ``unknown``."""
    if isinstance(source, str):
        return source if source in _PLAIN_SOURCES else "unknown"
    if len(source) != 1:
        return "unknown"
    ((key, value),) = source.items()
    if key in ("custom", "internal"):
        return key
    if key != "subagent":
        return "unknown"
    kind = (
        value
        if isinstance(value, str)
        else next(iter(value), None)
        if isinstance(value, dict)
        else None
    )
    return f"subagent_{kind}" if kind in _SUBAGENTS else "subagent_other"


_PLAIN_SOURCES: Final = frozenset({"cli", "vscode", "exec", "mcp"})
_SUBAGENTS: Final = frozenset(
    {"review", "compact", "memory_consolidation", "thread_spawn", "other"}
)


def is_subagent(source: SessionSource) -> bool:
    """Whether another thread started it."""
    return source_kind(source).startswith("subagent_")


def source_parent(source: SessionSource) -> str | None:
    """The id of the thread that spawned it, where the source says so."""
    if isinstance(source, dict) and isinstance(source.get("subagent"), dict):
        spawn = source["subagent"].get("thread_spawn")
        if isinstance(spawn, dict) and isinstance(spawn.get("parent_thread_id"), str):
            return str(spawn["parent_thread_id"])
    return None


def thread_of(
    new: NewThread,
    *,
    thread_id: str,
    created_at: dt.datetime,
    cli_version: str,
    model_provider: str,
) -> StoredThread:
    """The metadata of a thread as *new* creates it; what *new* leaves out comes from the arguments.

    Parent and agent fields that *new* leaves out come from a spawning source, as in Codex.
    """
    if new.created_at is not None:
        created_at = floor_ms(new.created_at)
    spawn: Any = new.source.get("subagent") if isinstance(new.source, dict) else None
    spawn = spawn.get("thread_spawn") if isinstance(spawn, dict) else None
    agent: dict[str, Any] = {
        field: getattr(new, field) or (spawn.get(field) if isinstance(spawn, dict) else None)
        for field in ("agent_nickname", "agent_role", "agent_path")
    }
    git = new.git or GitInfo()
    git_facts = GitInfoPatch(sha=git.sha, branch=git.branch, origin_url=git.origin_url)
    return StoredThread(
        id=thread_id,
        session_id=new.session_id or thread_id,
        history_mode=new.history_mode,
        forked_from_id=new.forked_from_id,
        parent_thread_id=new.parent_thread_id or source_parent(new.source),
        created_at=created_at,
        updated_at=created_at,
        recency_at=created_at,
        cwd=new.cwd,
        git=git_facts.apply(None),
        model_provider=new.model_provider or model_provider,
        cli_version=new.cli_version or cli_version,
        originator=new.originator or None,
        source=new.source,
        thread_source=new.thread_source,
        memory_mode=new.memory_mode,
        **agent,
    )
