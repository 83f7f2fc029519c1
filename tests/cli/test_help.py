"""Help texts, the documentation beside them, and how little a start imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Home, Run

from threadstore.cli.parser import COMMANDS
from threadstore.version import VERSION

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
HEAVY = {"asyncio", "msgspec", "apsw", "rich", "json", "typing", "dataclasses", "shutil", "inspect"}


def imported(code: str) -> set[str]:
    """The modules that are loaded after *code* ran in a fresh interpreter."""
    script = f"{code}\nimport sys\nprint('\\n' + ' '.join(sys.modules))"
    argv = [sys.executable, "-S", "-c", script]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split())


def test_help_lists_every_command_and_exit_code(bare_cli: Run) -> None:
    result = bare_cli("--help")
    assert (result.code, result.err) == (0, "")
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^ +{name} +{re.escape(summary)}$", result.out, re.MULTILINE)
    for code in range(7):
        assert re.search(rf"\b{code} [a-z]", result.out)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_teaches_with_an_example(bare_cli: Run, name: str) -> None:
    result = bare_cli(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert "\nexample" in result.out
    assert re.search(rf"^ +.*threadstore .*{name}\b", result.out, re.MULTILINE)
    assert max(map(len, result.out.splitlines())) <= 100


@pytest.mark.parametrize("name", COMMANDS)
def test_the_documentation_has_every_option_of_every_command(bare_cli: Run, name: str) -> None:
    chapter = DOCS.read_text(encoding="utf-8").split(f"\n### {name}\n")[1].split("\n### ")[0]
    options = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", bare_cli(name, "--help").out, re.MULTILINE)
    documented_once = {"--help", "--store", "--debug"}
    assert {option for option in options if option not in chapter} == documented_once


def test_the_documentation_has_no_other_commands() -> None:
    assert re.findall(r"^### (.+)$", DOCS.read_text(encoding="utf-8"), re.MULTILINE) == [*COMMANDS]


def test_version_is_printed(bare_cli: Run) -> None:
    assert bare_cli("--version").out == f"threadstore {VERSION}\n"


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
    code += "from threadstore.cli import main\nmain(['--help'])"
    assert not imported(code) & HEAVY


def test_a_list_imports_neither_an_event_loop_nor_what_it_does_not_need(home: Home) -> None:
    (home.path / "config.toml").write_text('model_provider = "local"\n', encoding="utf-8")
    code = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
    code += f"from threadstore.cli import main\nmain(['--store', 'local:{home.path}', 'list'])"
    unneeded = {
        "asyncio", "backports.zstd", "concurrent.futures", "email", "hashlib", "json", "logging",
        "importlib.resources", "rich", "shutil", "socket", "ssl", "subprocess", "tempfile",
        "tomllib", "urllib.parse", "threadstore.appserver", "threadstore.engine",
        "threadstore.live", "threadstore.manager", "threadstore.pages", "threadstore.paging",
        "threadstore.search", "websockets",
    }  # fmt: skip
    of_histories = ("facts", "header", "lines", "marks", "turns")
    unneeded |= {f"threadstore.history.{name}" for name in of_histories}
    rooms = {
        *("archiving", "derive", "entering", "families", "forks", "lineage", "lines", "marks"),
        *("metadata", "places", "reader", "reading", "recorder", "tail", "text_verbs", "writers"),
    }
    unneeded |= {f"threadstore.stores.local.{room}" for room in rooms}
    imported(code)  # which enters what the index does not know yet
    assert sorted(imported(code) & unneeded) == []


@pytest.mark.parametrize("words", ["", "['--version']"])
def test_garbage_is_collected_our_way_in_a_process_of_our_own_only(words: str) -> None:
    code = f"import gc, sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
    code += "usual, sys.argv[1:] = gc.get_threshold(), ['--version']\n"
    code += f"from threadstore.cli import main\nmain({words})\n"
    code += "print(gc.get_threshold() == usual, gc.get_freeze_count() == 0)"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == ("True True" if words else "False False")


def test_an_app_server_that_nobody_gives_a_turn_imports_no_session_and_no_model_client() -> None:
    code = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
    code += "import threadstore.appserver, threadstore.appserver.serving"
    unneeded = {"email.utils", "ipaddress", "mimetypes", "openai", "urllib.parse", "websockets"}
    unneeded |= {f"threadstore.engine.{name}" for name in ("openai_model", "session", "tools")}
    assert not imported(code) & unneeded


def test_the_package_does_not_import_the_command_line() -> None:
    code = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\nimport threadstore"
    assert not {name for name in imported(code) if name.startswith("threadstore.cli")}


def test_a_pipe_never_imports_rich(cli: Run) -> None:
    known = set(sys.modules)
    cli("list")
    assert not {name for name in set(sys.modules) - known if name.startswith("rich")}
