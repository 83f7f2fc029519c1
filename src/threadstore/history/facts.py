"""What items imply for metadata: the complete decision table, in one place.

========================================  =========================================================
item                                      implies
========================================  =========================================================
``session_meta`` with the thread's id     created_at (if it parses), source, thread_source, agent
                                          facts, provider, version, cwd, originator, creator ids
                                          (if non-empty), git (as a whole, if the line has ``git``),
                                          memory mode (if enabled or disabled)
``session_meta`` of another thread        nothing, memory mode included: a fork's copied headers
``turn_context``                          cwd (only while none is known), model, effort (unset
                                          clears), approval, sandbox policy, permission profile
``thread_settings_applied``               the same and the provider; its cwd counts always; of
                                          another thread (copied into a fork) neither of the two
``user_message``, completed UserMessage   first_user_message, preview, title: each only once; no
                                          title from images or audio
completed FunctionCallOutput              preview (only once): the task a delegation brought
``thread_goal_updated``                   preview (only once)
``token_count`` with info                 token_usage, and usage if more was used than before
``token_usage_record`` (0.155)            usage, and what token_usage will be with that
``task_started`` (``turn_started``)       advance_recency_at
anything else                             nothing
========================================  =========================================================

The table is that of Codex 0.169 with its known faults left out: an unreadable time never unsets an
earlier one, a partial header never clears agent facts, a wrong type costs one field and not the
line, remote URLs lose their credentials.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from threadstore.clock import UTC, from_ms, parse_timestamp
from threadstore.history.copied import CopiedLines
from threadstore.history.header import HeaderView, is_bare_header, is_header_of, read_header
from threadstore.history.messages import bare_user_text, content_text, user_text
from threadstore.history.usage import LedgerState, UsageLedger
from threadstore.metadata import GitInfo, GitInfoPatch, ThreadMetadataPatch, ThreadUsage

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping

    from threadstore.history.items import RolloutItem

__all__ = ["FactObserver", "ObserverState", "fold"]

_DELEGATION_NAMESPACES: Final = frozenset({"codex_app", "codex_tui"})
_DELEGATION_TOOLS: Final = frozenset({"create_thread", "send_message_to_thread"})
_ENVELOPE: Final = re.compile(r"<codex_delegation>(.*?)</codex_delegation>", re.DOTALL)
_STARTED: Final = frozenset({"task_started", "turn_started"})


class ObserverState(msgspec.Struct, array_like=True, kw_only=True):
    """All that an observer knows, but for the usage: what to go on from later."""

    thread_id: str
    cwd_seen: bool
    preview_seen: bool
    first_user_message_seen: bool
    title_seen: bool
    begun: bool
    turns_seen: bool
    bare: bool
    model: str | None
    memory_mode: str | None
    ledger: LedgerState
    copied: CopiedLines


class FactObserver:
    """Reads facts out of one thread's items, fed in order; the first-only rules are inside.

    The flags say what is known already, so that a resumed thread does not derive it again.
    """

    def __init__(
        self,
        thread_id: str,
        *,
        cwd_seen: bool = False,
        preview_seen: bool = False,
        first_user_message_seen: bool = False,
        title_seen: bool = False,
        model: str | None = None,
        ledger: UsageLedger | None = None,
    ) -> None:
        self.thread_id = thread_id
        self.cwd_seen = cwd_seen
        self.preview_seen = preview_seen
        self.first_user_message_seen = first_user_message_seen
        self.title_seen = title_seen
        self.model = model
        """The model that usage is counted for: that of the last turn context or settings."""
        self.ledger = ledger or UsageLedger()
        self.copied = CopiedLines()
        self.memory_mode: str | None = None
        """The last memory mode of the thread's own headers, also one no patch can carry."""
        self.begun = False
        """Whether the thread's own first header was seen."""
        self.turns_seen = False
        self.bare = False
        """Whether there are messages to and from the model only (Codex 0.29 and before)."""

    def state(self) -> ObserverState:
        """What :meth:`restore` needs. Shares what changes: encode it before going on."""
        state = {field: getattr(self, field) for field in _PLAIN}
        return ObserverState(**state, ledger=self.ledger.state(), copied=self.copied)

    @classmethod
    def restore(cls, state: ObserverState, usage: ThreadUsage | None) -> Self:
        """An observer that goes on where another one stood, with the *usage* so far."""
        observer = cls(state.thread_id, ledger=UsageLedger.restore(usage, state.ledger))
        for field in _PLAIN:
            setattr(observer, field, getattr(state, field))
        observer.copied = state.copied
        return observer

    def observe(
        self, item: RolloutItem, *, now: dt.datetime | None = None
    ) -> ThreadMetadataPatch | None:
        """What *item* implies; ``None``: nothing.

        *now* is the time of an append; without it (history) the item's own time counts.
        """
        facts = self._facts(item, now)
        return ThreadMetadataPatch(**facts) if facts else None

    def note_usage(self, said: Mapping[str, Any]) -> None:
        """Go on from the usage in *said*, the fields of a patch that somebody else has made."""
        self.model = said.get("model") or self.model
        if "usage" in said:
            self.ledger = UsageLedger(said["usage"], said.get("token_usage", self.ledger.total))

    def observe_all(
        self, items: Iterable[RolloutItem], *, now: dt.datetime | None = None
    ) -> ThreadMetadataPatch | None:
        """What *items* imply together, as one patch; ``None``: nothing."""
        merged = self.gather(items, now=now)
        return ThreadMetadataPatch(**merged) if merged else None

    def gather(
        self, items: Iterable[RolloutItem], *, now: dt.datetime | None = None
    ) -> dict[str, Any]:
        """The same as the fields of that patch, for many items."""
        merged: dict[str, Any] = {}
        recency: dt.datetime | None = None
        for item in items:
            if item.type == "response_item" and not self.bare:  # more than half of all
                continue
            facts = self._facts(item, now)
            if facts:
                merged.update(facts)
                moment = facts.get("advance_recency_at")
                if moment is not None and (recency is None or moment > recency):
                    recency = moment
        if recency is not None:
            merged["advance_recency_at"] = recency
        return merged

    def _facts(self, item: RolloutItem, now: dt.datetime | None) -> dict[str, Any] | None:
        """The patch fields that *item* implies. Decodes only what can imply something."""
        if item.type == "event_msg":
            read = _EVENTS.get(item.kind or "")
            if read is None or not isinstance(item.payload, dict):
                return None
            return read(self, item, now)
        if item.type == "turn_context":
            return self._turn_context(item) if isinstance(item.payload, dict) else None
        if item.type == "session_meta":
            return self._session_meta(item)
        if item.type == "token_usage_record":
            return self._usage_record(item)
        if self.bare and item.type == "response_item":
            return self._bare_message(item.payload)
        return None

    def _session_meta(self, item: RolloutItem) -> dict[str, Any] | None:
        header = read_header(item)
        if header is not None and is_header_of(item, self.thread_id):
            first = not self.begun
            self.own_header(item, header)
            return self._header_facts(item, header, first=first)
        if header is not None and header.id is not None:
            self.copied.foreign_header(item)
        return None

    def own_header(self, item: RolloutItem, header: HeaderView) -> None:
        """Take note of a header of this thread, of which the facts are known."""
        self.copied.own_header(header)
        self.memory_mode = header.memory_mode or self.memory_mode
        self.cwd_seen = self.cwd_seen or header.cwd is not None
        if not self.begun:
            self.begun, self.bare = True, is_bare_header(item)

    def _header_facts(
        self, item: RolloutItem, header: HeaderView, *, first: bool
    ) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if header.timestamp is not None:
            facts["created_at"] = header.timestamp
        if header.source is not None or first:
            facts["source"] = header.source or "vscode"
        for field in ("thread_source", "agent_nickname", "agent_role", "agent_path"):
            value = getattr(header, field)
            # Codex clears what a later copy leaves out; only null written out clears here.
            if value is not None or first or _says_null(item.payload, field):
                facts[field] = value
        for field in _NON_EMPTY:
            value = getattr(header, field)
            if value is not None:
                facts[field] = value
        if header.has_git:
            git = header.git or GitInfo()
            facts["git"] = GitInfoPatch(sha=git.sha, branch=git.branch, origin_url=git.origin_url)
        if header.memory_mode in ("enabled", "disabled"):
            facts["memory_mode"] = header.memory_mode
        return facts

    def _turn_context(self, item: RolloutItem) -> dict[str, Any]:
        self.copied.holds(item, self.thread_id)
        facts = self._settings(item.payload, effort=item.payload.get("effort"))
        if not self.cwd_seen:
            facts.update(self._cwd(item.payload))
        return facts

    def _settings_applied(self, item: RolloutItem, _now: object) -> dict[str, Any] | None:
        settings = item.payload.get("thread_settings")
        if not isinstance(settings, dict):
            return None
        self.copied.holds(item, self.thread_id)
        facts = self._settings(settings, effort=_settings_effort(settings))
        if item.payload.get("thread_id") not in (None, self.thread_id):
            return facts
        provider = settings.get("model_provider_id")
        if isinstance(provider, str) and provider:
            facts["model_provider"] = provider
        facts.update(self._cwd(settings))
        return facts

    def _settings(self, fields: dict[str, Any], *, effort: Any) -> dict[str, Any]:
        facts = _settings(fields, effort=effort)
        self.model = facts.get("model", self.model)
        return facts

    def _cwd(self, payload: dict[str, Any]) -> dict[str, Any]:
        cwd = payload.get("cwd")
        if not isinstance(cwd, str) or not cwd:
            return {}
        self.cwd_seen = True
        return {"cwd": cwd}

    def _user_message(self, item: RolloutItem, now: dt.datetime | None) -> dict[str, Any]:
        facts = self._user_text(item.payload)
        if now is None and not self.turns_seen:
            # Codex 0.77 and before wrote no turn starts: a turn began with the user's message.
            moment = parse_timestamp(item.timestamp)
            if moment is not None:
                facts["advance_recency_at"] = moment
        return facts

    def _user_text(self, payload: Any) -> dict[str, Any]:
        if self.first_user_message_seen and self.preview_seen and self.title_seen:
            return {}
        preview, title = user_text(payload)
        facts: dict[str, Any] = {}
        if preview is not None and not self.first_user_message_seen:
            facts["first_user_message"] = preview
            self.first_user_message_seen = True
        if preview is not None:
            facts.update(self._preview(preview))
        if title is not None and not self.title_seen:
            facts["title"] = title
            self.title_seen = True
        return facts

    def _preview(self, text: str) -> dict[str, Any]:
        if self.preview_seen or not text:
            return {}
        self.preview_seen = True
        return {"preview": text}

    def _completed(self, item: RolloutItem, _now: object) -> dict[str, Any] | None:
        inner = item.payload.get("item")
        if not isinstance(inner, dict):
            return None
        if inner.get("type") == "UserMessage":
            return self._user_text(inner)
        if inner.get("type") == "FunctionCallOutput" and not self.preview_seen:
            return self._preview(_delegated_task(inner))
        return None

    def _goal(self, item: RolloutItem, _now: object) -> dict[str, Any] | None:
        goal = item.payload.get("goal")
        objective = goal.get("objective") if isinstance(goal, dict) else None
        return self._preview(objective.strip()) if isinstance(objective, str) else None

    def _token_count(self, item: RolloutItem, _now: object) -> dict[str, Any] | None:
        info = item.payload.get("info")
        if not isinstance(info, dict) or not isinstance(info.get("total_token_usage"), dict):
            return None
        inherited = self.copied.holds(item, self.thread_id)
        changed = self.ledger.observe(info, self.model, inherited=inherited)
        usage = {"usage": self.ledger.usage} if changed else {}
        return {"token_usage": self.ledger.total, **usage}

    def _usage_record(self, item: RolloutItem) -> dict[str, Any] | None:
        inherited = self.copied.holds(item, self.thread_id)
        changed = self.ledger.record(item.payload, self.model, inherited=inherited)
        if not changed:
            return None
        # Together: one of them alone would count the response again when the event comes.
        return {"token_usage": self.ledger.total, "usage": self.ledger.usage}

    def _turn_started(self, item: RolloutItem, now: dt.datetime | None) -> dict[str, Any] | None:
        self.turns_seen = True
        self.copied.holds(item, self.thread_id)
        moment = (
            now or parse_timestamp(item.timestamp) or _from_seconds(item.payload.get("started_at"))
        )
        return None if moment is None else {"advance_recency_at": moment}

    def _bare_message(self, payload: Any) -> dict[str, Any] | None:
        """Facts of a Codex 0.29 message, which stands there as it went to the model."""
        text, cwd = bare_user_text(payload)
        if cwd is not None:
            return {} if self.cwd_seen else self._cwd({"cwd": cwd})
        return None if text is None else self._user_text({"message": text})


def fold(thread_id: str, items: Iterable[RolloutItem]) -> ThreadMetadataPatch:
    """What a whole history implies, as one patch (maybe empty)."""
    return FactObserver(thread_id).observe_all(items) or ThreadMetadataPatch()


_PLAIN: Final = tuple(
    field for field in ObserverState.__struct_fields__ if field not in ("ledger", "copied")
)
_NON_EMPTY: Final = (
    "model_provider",
    "cli_version",
    "cwd",
    "originator",
    "creator_user_id",
    "creator_account_id",
)
_EVENTS: Final = {
    "item_completed": FactObserver._completed,
    "task_started": FactObserver._turn_started,
    "thread_goal_updated": FactObserver._goal,
    "thread_settings_applied": FactObserver._settings_applied,
    "token_count": FactObserver._token_count,
    "turn_started": FactObserver._turn_started,
    "user_message": FactObserver._user_message,
}


def _says_null(payload: dict[str, Any], field: str) -> bool:
    return field in payload and payload[field] is None


def _settings(fields: dict[str, Any], *, effort: Any) -> dict[str, Any]:
    """What a turn context and applied thread settings have in common."""
    facts: dict[str, Any] = {}
    model = fields.get("model")
    if isinstance(model, str) and model:
        facts["model"] = model
    if effort is None or isinstance(effort, str):
        facts["reasoning_effort"] = effort or None
    approval = fields.get("approval_policy")
    if isinstance(approval, str | dict) and approval:
        facts["approval_mode"] = approval
    policy = _tagged(fields.get("sandbox_policy"), old_tag="mode")
    if policy is not None:
        facts["sandbox_policy"] = policy
    profile = _tagged(fields.get("permission_profile"))
    if profile is not None:
        facts["permission_profile"] = profile
    return facts


def _settings_effort(settings: dict[str, Any]) -> Any:
    """Thread settings keep the effort in their collaboration mode where they have no own field."""
    if settings.get("reasoning_effort") is not None:
        return settings["reasoning_effort"]
    mode = settings.get("collaboration_mode")
    inner = mode.get("settings") if isinstance(mode, dict) else None
    return inner.get("reasoning_effort") if isinstance(inner, dict) else None


def _tagged(value: Any, *, old_tag: str | None = None) -> dict[str, Any] | None:
    """An object with a ``type``; up to Codex 0.58 the tag of sandbox policies was ``mode``."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("type"), str):
        return value
    kind = value.get(old_tag) if old_tag else None
    if not isinstance(kind, str):
        return None
    return {"type": kind, **{key: part for key, part in value.items() if key != old_tag}}


def _delegated_task(item: dict[str, Any]) -> str:
    """The task that a delegating thread handed over in a tool output (0.169); empty: none."""
    if (
        item.get("namespace") not in _DELEGATION_NAMESPACES
        or item.get("name") not in _DELEGATION_TOOLS
    ):
        return ""
    output = content_text(item.get("output"))
    envelope = _ENVELOPE.search(output)
    if envelope is None:
        return output.strip()
    task = envelope[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return task.strip()


def _from_seconds(value: Any) -> dt.datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return from_ms(int(value * 1000)).astimezone(UTC)
    except (OverflowError, ValueError):
        return None
