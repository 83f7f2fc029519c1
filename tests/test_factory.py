"""Store URLs."""

from __future__ import annotations

import subprocess
import sys
import traceback
from typing import TYPE_CHECKING

import pytest

from threadstore.errors import InvalidRequest, StoreUnavailable
from threadstore.factory import open_store
from threadstore.metadata import NewThread
from threadstore.testing import ManualClock

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_memory_store_opens_with_its_context() -> None:
    clock = ManualClock()
    store = open_store("memory:", clock=clock, default_model_provider="mock")
    with pytest.raises(StoreUnavailable):
        await store.list_threads()

    async with store as opened:
        assert opened is store
        thread = await store.create_thread(NewThread(cwd=""))

    assert (thread.model_provider, thread.created_at) == ("mock", clock.now())


async def test_two_memory_stores_share_nothing() -> None:
    async with open_store("memory:") as one, open_store("memory:") as two:
        thread = await one.create_thread(NewThread(cwd=""))
        await one.persist_thread(thread.id)

        assert (await two.list_threads()).items == ()


async def test_a_local_store_works_in_the_folder_of_its_url(tmp_path: Path) -> None:
    home = tmp_path / "codex home"
    async with open_store(f"local:{home}") as store:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.persist_thread(thread.id)

        assert thread.rollout_path is not None
        assert thread.rollout_path.startswith(str(home))


async def test_a_relative_path_starts_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("local:some/home")
    monkeypatch.chdir("/")  # where the program goes later makes no difference
    async with store:
        thread = await store.create_thread(NewThread(cwd="/repo"))

    assert thread.rollout_path is not None
    assert thread.rollout_path.startswith(f"{tmp_path}/some/home/")


@pytest.mark.parametrize("form", ["local:{home}?sqlite_home={db}", "local://{home}"])
async def test_databases_may_live_elsewhere(tmp_path: Path, form: str) -> None:
    home, db = tmp_path / "home", tmp_path / "db"
    url = form.format(home=home, db=db)
    async with open_store(url, sqlite_home=str(db), default_model_provider=None) as store:
        thread = await store.create_thread(NewThread(cwd="/repo"))
        await store.persist_thread(thread.id)

    assert list(db.glob("*.sqlite"))
    assert not list(home.glob("*.sqlite"))


async def test_making_a_store_touches_nothing(tmp_path: Path) -> None:
    open_store(f"local:{tmp_path / 'home'}")

    assert list(tmp_path.iterdir()) == []


async def test_a_home_that_is_a_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("mine")

    with pytest.raises(InvalidRequest):
        await open_store(f"local:{tmp_path / 'home'}").open()

    assert (tmp_path / "home").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "local",
        "local:",
        "local:?sqlite_home=/x",
        "local://host",
        "memory",
        "memory:/path",
        "redis://localhost",
        "/home/ada/.codex",
        "local:/home?unknown=1",
        "local:/home?sqlite_home",
        "local:/home?sqlite_home=",
        "local:/home?sqlite_home=relative",
        "local:/home?sqlite_home=/a&sqlite_home=/b",
        "local:/home?busy_timeout=soon",
        "local:/home?use_state_db=maybe",
    ],
)
def test_a_url_that_makes_no_sense_says_what_would(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_store(url)

    assert caught.value.hint or "option" in caught.value.message or "sqlite" in str(caught.value)


def test_an_unknown_scheme_lists_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_store("redis://localhost")

    assert "memory:" in str(caught.value.hint)
    assert "local:" in str(caught.value.hint)


def test_an_unknown_option_lists_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_store("memory:", home="/x")

    assert "default_model_provider" in str(caught.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        "postgre://ada:secret@host/db",
        "postgresql+psycopg://ada:secret@host/db",
        "postgresql://ada:s%ecret@host/db",
        "postgresql://ada:se cret@host/db",
        "postgresql://ada:word@secret@host/db",
        "postgresql://ada:secret@[::1/db",
        "postgresql://ada@host/db?password=secret%zz",
        "postgresql://ada:secret@host/db?secret",
        "postgresql://ada:secret@host/db?nonsense=1",
    ],
)
def test_a_password_in_a_url_is_never_shown(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_store(url)
    trace = "".join(traceback.format_exception(caught.value))
    assert "ecret" not in f"{trace} {caught.value.hint}"


def test_an_option_of_a_database_that_nobody_knows_is_named() -> None:
    with pytest.raises(InvalidRequest, match="nonsense"):
        open_store("postgresql://host/threads?nonsense=1")


def test_a_memory_store_loads_no_database_driver() -> None:
    code = (
        "import sys; from threadstore import open_store; open_store('memory:');"
        "sys.exit('apsw' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
