"""Every kind of event and item that histories may hold, for a release to read and tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]
Line = tuple[str, Json]

TIME = "2026-11-22T05:00:00.000Z"
DURATION = {"secs": 1, "nanos": 24_526_222}
ELEMENT = {"byte_range": {"start": 0, "end": 2}, "placeholder": "x"}
CITATION = {
    "entries": [{"path": "m.md", "lineStart": 1, "lineEnd": 2, "note": "n"}],
    "rolloutIds": ["r1"],
}
CHANGES = {
    "/somewhere/z": {"type": "delete", "content": "gone"},
    "/somewhere/b": {"type": "update", "unified_diff": "@@\n-1\n+2\n", "move_path": "/other"},
    "/somewhere/a": {"type": "add", "content": "new"},
    "/somewhere/u": {"type": "update", "unified_diff": "@@", "move_path": None},
}
FINDING = {
    "title": "T1",
    "body": "B1\nB2\n\nB3",
    "confidence_score": 0.5,
    "priority": 1,
    "code_location": {
        "absolute_file_path": "/somewhere/a.py",
        "line_range": {"start": 1, "end": 3},
    },
}
OPINION = {"overall_correctness": "ok", "overall_confidence_score": 0.5}
COMMANDS = [
    {"type": "read", "cmd": "cat a", "name": "a", "path": "/somewhere/a"},
    {"type": "read", "cmd": "cat a", "name": "a", "path": "rel/a"},
    {"type": "list_files", "cmd": "ls", "path": None},
    {"type": "search", "cmd": "rg x", "query": "x", "path": "d"},
    {"type": "unknown", "cmd": "echo hi"},
]
SEARCHES: list[Json] = [
    {"type": "search", "query": "q", "queries": ["q", "r"]},
    {"type": "open_page", "url": "https://example.test"},
    {"type": "find_in_page", "url": "https://example.test", "pattern": "p"},
    {"type": "other"},
]


def made_id(number: int) -> str:
    """An id in the form of Codex's."""
    return f"01a20000-0000-7000-8000-{number:012x}"


AGENT, OTHER = made_id(0xA), made_id(0xB)


def event(name: str, /, **fields: Any) -> Line:
    """An event of a history."""
    return "event_msg", {"type": name, **fields}


def turn(number: int, *lines: Line) -> list[Line]:
    """Lines between the start and the end of a turn."""
    at = 1_795_000_000 + 10 * number
    turn_id = made_id(number)
    end = {"last_agent_message": None, "started_at": at, "completed_at": at + 9}
    return [
        event("task_started", turn_id=turn_id, started_at=at, model_context_window=1),
        *lines,
        event("task_complete", turn_id=turn_id, duration_ms=9000, **end),
    ]


def legacy_history() -> list[Line]:
    """Every event that 0.131 and 0.169 tell, and turns in every order."""
    return [
        *turn(0x10, *_words(), *_tools(made_id(0x10)), *_notes()),
        event("agent_message", message="late words"),
        event("user_message", message="implicit"),
        event("user_message", message="   "),
        event("task_started", turn_id=made_id(0x11), started_at=1, model_context_window=1),
        event("user_message", message="interrupted"),
        event("turn_aborted", turn_id=made_id(0x11), reason="interrupted", completed_at=2),
        event("task_started", turn_id=made_id(0x12), started_at=3, model_context_window=1),
        event("user_message", message="closed by the next start"),
        event("task_started", turn_id=made_id(0x13), started_at=4, model_context_window=1),
        event("task_complete", turn_id=made_id(0x12), last_agent_message=None, completed_at=5),
        event("task_complete", turn_id=made_id(0x13), last_agent_message=None),
        ("compacted", {"message": "sum"}),
        ("compacted", {"message": "sum"}),
        event("user_message", message="continues the compaction"),
        event("thread_rolled_back", num_turns=1),
        *turn(
            0x14,
            event("user_message", message="numbers after a rollback"),
            event("agent_reasoning", text="r1"),
            event("agent_reasoning", text="r2"),
            event("agent_message", message="yes"),
        ),
    ]


def _words() -> list[Line]:
    return [
        event(
            "user_message",
            message="look",
            images=["https://example.test/a.png"],
            local_images=["/somewhere/p.png"],
            text_elements=[ELEMENT],
            image_details=["high"],
            local_image_details=["low"],
            audio=["data:audio/wav;base64,AA"],
            local_audio=["/somewhere/a.wav"],
            client_id="c1",
        ),
        event("agent_message", message=""),
        event("agent_message", message="hm", phase="commentary", memory_citation=CITATION),
        event("agent_reasoning", text="one"),
        event("agent_reasoning_raw_content", text="raw"),
        event("agent_reasoning", text=""),
    ]


def _tools(turn_id: str) -> list[Line]:
    call = {"turn_id": turn_id, "duration": DURATION}
    tool = {"server": "s", "tool": "t"}
    done = {"content": [{"type": "text", "text": "hi"}], "structuredContent": {"k": 1}}
    app = {
        "connector_id": "co",
        "link_id": "li",
        "app_name": "an",
        "action_name": "ac",
        "mcp_app_resource_uri": "ui://x",
        "plugin_id": "pl",
        "read_only_hint": True,
    }
    wrong = {"Ok": {"content": [], "isError": True, "_meta": {"q": 2}}}
    patch = {"stdout": "", "stderr": "", "success": True, "status": "completed"}
    made = {"status": "completed", "revised_prompt": "rp", "result": "AAAA"}
    return [
        event("patch_apply_end", call_id="p1", turn_id=turn_id, changes=CHANGES, **patch),
        event(
            "mcp_tool_call_end",
            call_id="m1",
            invocation={**tool, "arguments": {"a": 1}},
            result={"Ok": {**done, "isError": False}},
            **call,
        ),
        event("mcp_tool_call_end", call_id="m2", invocation=tool, result={"Err": "no"}, **call),
        event(
            "mcp_tool_call_end",
            call_id="m3",
            invocation=tool,
            result=wrong,
            **call,
            **app,
        ),
        *(
            event("web_search_end", call_id=f"w{number}", query="q", action=action)
            for number, action in enumerate(SEARCHES)
        ),
        event("image_generation_end", call_id="i1", saved_path="/somewhere/s.png", **made),
    ]


def _notes() -> list[Line]:
    plan = {"type": "Plan", "id": "plan-1", "text": "1. do"}
    quiet = {"findings": [], "overall_explanation": "", **OPINION}
    fine = {"findings": [], "overall_explanation": " fine ", **OPINION}
    return [
        event("context_compacted"),
        event("entered_review_mode", target={"type": "uncommittedChanges"}, user_facing_hint="all"),
        event("exited_review_mode", review_output=None),
        event("entered_review_mode", target={"type": "custom", "instructions": "x"}),
        event("exited_review_mode", review_output=fine),
        event("exited_review_mode", review_output=quiet),
        event(
            "item_completed",
            thread_id=made_id(1),
            turn_id=made_id(0x10),
            item=plan,
            completed_at_ms=1_795_000_001_000,
        ),
    ]


def extended_history() -> list[Line]:
    """What 0.118 wrote if it was told to keep more; later releases tell nothing of it."""
    command = {"command": ["bash", "-lc", "echo hi"], "cwd": "/somewhere", "parsed_cmd": COMMANDS}
    result = {"stdout": "hi\n", "stderr": "", "aggregated_output": "hi\n", "formatted_output": "hi"}
    facts = {"turn_id": made_id(0x20), "source": "agent", "status": "completed", "exit_code": 0}
    agents = {"sender_thread_id": AGENT, "receiver_thread_id": OTHER}
    return turn(
        0x20,
        event("user_message", message="extended"),
        event("exec_command_end", call_id="x", duration=DURATION, **command, **result, **facts),
        event("view_image_tool_call", call_id="v", path="/somewhere/p q.png"),
        event("collab_close_end", call_id="c", status="shutdown", **agents),
        event("error", message="boom", codex_error_info="other"),
    )


def completed_items() -> list[Json]:
    """Every kind of finished item that 0.169 tells of a paginated thread."""
    return [*_spoken(), *_commands(), *_calls(), *_found(), *_marks()]


def _spoken() -> list[Json]:
    parts: list[Json] = [
        {"type": "text", "text": "look", "text_elements": [ELEMENT]},
        {"type": "image", "image_url": "https://example.test/a.png", "detail": "high"},
        {"type": "local_image", "path": "/somewhere/p.png"},
        {"type": "skill", "name": "sk", "path": "/somewhere/SKILL.md"},
        {"type": "mention", "name": "mn", "path": "app://x"},
        {"type": "audio", "audio_url": "data:audio/wav;base64,AA"},
        {"type": "local_audio", "path": "/somewhere/a.wav"},
    ]
    words = [{"type": "Text", "text": "one "}, {"type": "Text", "text": "two"}]
    return [
        {"type": "UserMessage", "client_id": "c1", "content": parts},
        {"type": "HookPrompt", "fragments": [{"text": "do", "hookRunId": "run1"}]},
        {
            "type": "AgentMessage",
            "content": words,
            "phase": "final_answer",
            "memory_citation": CITATION,
        },
        {"type": "Plan", "text": "1. do"},
        {"type": "Reasoning", "summary_text": ["s"], "raw_content": ["raw"]},
    ]


def _commands() -> list[Json]:
    place = {"type": "CommandExecution", "cwd": "file:///somewhere/a%20b", "parsed_cmd": COMMANDS}
    return [
        {
            **place,
            "process_id": "7",
            "command": ["bash", "-lc", "echo hi"],
            "source": "unified_exec_startup",
            "aggregated_output": "hi\n",
            "exit_code": 0,
            "duration": DURATION,
            "status": "completed",
        },
        {
            **place,
            "command": ["false"],
            "source": "user_shell",
            "aggregated_output": "",
            "exit_code": 1,
            "duration": DURATION,
            "status": "failed",
        },
        {**place, "command": ["rm"], "source": "agent", "status": "declined"},
        {
            **place,
            "command": ["rm"],
            "source": "agent",
            "status": "in_progress",
            "plugin_id": "plg",
            "script_path": "file:///somewhere/s.py",
        },
        {"type": "FileChange", "changes": CHANGES, "status": "completed"},
        {"type": "FileChange", "changes": {}, "status": "declined"},
    ]


def _calls() -> list[Json]:
    output = [{"type": "input_text", "text": "t"}]
    shown = [{"type": "inputText", "text": "out"}]
    done = {"content": [{"type": "text", "text": "hi"}], "structuredContent": {"k": 1}}
    app = {"connectorId": "co", "linkId": "li", "appName": "an", "actionName": "ac"}
    plugin = {"mcpAppResourceUri": "ui://x", "pluginId": "pl", "readOnlyHint": True}
    mcp = {"type": "McpToolCall", "server": "s", "tool": "t"}
    tool = {"type": "DynamicToolCall", "tool": "dt", "arguments": {"z": 1}}
    agents = {"type": "CollabAgentToolCall", "sender_thread_id": AGENT}
    states = {OTHER: {"completed": "done"}, made_id(0xC): "not_found", AGENT: {"errored": "bad"}}
    return [
        {"type": "FunctionCallOutput", "name": "fn", "output": "text"},
        {"type": "FunctionCallOutput", "name": "fn", "namespace": "ns", "output": output},
        {**tool, "status": "completed", "content_items": shown, "success": True,
         "duration": DURATION},
        {**tool, "status": "failed", "success": False, "error": "err", "namespace": "ns"},
        {**mcp, "arguments": {"a": 1}, "status": "completed", "result": done,
         "duration": DURATION},
        {**mcp, "arguments": None, "status": "failed", "error": {"message": "no"}, **app, **plugin},
        {**agents, "tool": "spawn_agent", "status": "in_progress", "receiver_thread_ids": [OTHER],
         "prompt": "go", "model": "m", "reasoning_effort": "high",
         "agents_states": {OTHER: "pending_init"}},
        {**agents, "tool": "wait", "status": "completed", "receiver_thread_ids": [OTHER],
         "agents_states": states},
        {"type": "SubAgentActivity", "kind": "started", "agent_thread_id": OTHER,
         "agent_path": "/root"},
    ]  # fmt: skip


def _found() -> list[Json]:
    results = [{"title": "x", "url": "https://example.test"}]
    page = {"type": "openPage", "url": "https://example.test"}
    drawn = {"kind": "image_gen.generation", "status": "completed"}
    return [
        *({"type": "WebSearch", "query": "q", "action": action} for action in SEARCHES),
        {"type": "WebSearch", "query": "q", "action": SEARCHES[0], "results": results},
        {"type": "ImageView", "path": "file:///somewhere/p%20q.png"},
        {"type": "ImageGeneration", "status": "completed", "revised_prompt": "rp",
         "result": "AAAA", "saved_path": "/somewhere/s.png"},
        {"type": "Extension", "kind": "clock.sleep", "durationMs": 5},
        {"type": "Extension", "kind": "web.search", "query": "q", "action": page,
         "results": results},
        {"type": "Extension", **drawn, "result": "AAAA", "savedPath": "/somewhere/x.png"},
        {"type": "Extension", **drawn, "fileId": "file1"},
    ]  # fmt: skip


def _marks() -> list[Json]:
    one = {"findings": [FINDING], "overall_explanation": " fine ", **OPINION}
    two = {"findings": [FINDING, FINDING], "overall_explanation": "", **OPINION}
    return [
        {"type": "EnteredReviewMode", "target": {"type": "uncommittedChanges"},
         "user_facing_hint": "all"},
        *({"type": "ExitedReviewMode", "review_output": output} for output in (None, one, two)),
        {"type": "ContextCompaction"},
    ]  # fmt: skip


def paginated_history(thread_id: str, number: int, item: Json) -> list[Line]:
    """A turn with a user's message and one other item."""
    hello = {"type": "text", "text": "hi", "text_elements": []}
    first = {"type": "UserMessage", "id": "u0", "content": [hello]}
    times = {"started_at_ms": 1_795_000_000_001, "completed_at_ms": 1_795_000_000_002}
    place = {"thread_id": thread_id, "turn_id": made_id(number), **times}
    return turn(
        number,
        event("item_completed", item=first, **place),
        event("item_completed", item={"id": "made", **item}, **place),
    )


def write(home: Path, number: int, lines: list[Line], *, mode: str = "legacy") -> str:
    """A thread with these lines; its id."""
    thread_id = made_id(number)
    folder = home / "sessions" / "2026" / "11" / "22"
    folder.mkdir(parents=True, exist_ok=True)
    header = {
        "id": thread_id,
        "session_id": thread_id,
        "timestamp": TIME,
        "cwd": "/somewhere",
        "originator": "forms",
        "cli_version": "0.169.0",
        "source": "cli",
        "model_provider": "scripted",
        "history_mode": mode,
    }
    path = folder / f"rollout-2026-11-22T05-00-{number % 60:02d}-{thread_id}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for ordinal, (kind, payload) in enumerate([("session_meta", header), *lines]):
            line: Json = {"timestamp": TIME, "type": kind, "payload": payload}
            if mode == "paginated":
                line["ordinal"] = ordinal
            file.write(json.dumps(line) + "\n")
    return thread_id
