"""Who may connect to an app server, and what they may do there.

What is accepted and refused is what Codex 0.169 accepts and refuses (observed), unless a test says
otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.appserver.world import UNKNOWN, World, serving

from threadstore.appserver.access import (
    BURST_SECONDS,
    REMOTE_REQUESTS,
    Access,
    Allowance,
    WebSocketAuth,
    access_to,
    is_loopback,
)
from threadstore.engine import Image, LocalImage, Text
from threadstore.errors import InvalidRequest
from threadstore.testing import LocalHarness

Json = dict[str, Any]
SECRET = "0123456789abcdef0123456789abcdef"
LOCAL = "ws://127.0.0.1:0"
REMOTE = "ws://0.0.0.0:0"


def bearer(token: str) -> dict[str, str]:
    """The headers of a handshake."""
    return {"Authorization": f"Bearer {token}"}


def written(folder: Path, content: bytes) -> str:
    """The path of a file."""
    path = folder / "secret"
    path.write_bytes(content)
    return str(path)


def part(value: object) -> str:
    """A part of a JWT."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _of_now(claims: object) -> object:
    if not isinstance(claims, dict):
        return claims
    passed = int(time.time()) - NOW
    times = {
        name: value + passed
        for name, value in claims.items()
        if isinstance(value, int | float) and value > NOW / 2
    }
    return {**claims, **times}


def jwt(claims: object, *, secret: str = SECRET, alg: str = "HS256", **header: Any) -> str:
    """A signed token. Its times are as far from now as they are from :data:`NOW`."""
    signed = f"{part({'alg': alg, **header})}.{part(_of_now(claims))}"
    name = {"HS384": "sha384", "HS512": "sha512"}.get(alg, "sha256")
    return f"{signed}.{part(hmac.digest(secret.encode(), signed.encode(), name))}"


# Capability tokens


@pytest.fixture(params=["file", "digest"])
def capability(request: pytest.FixtureRequest, tmp_path: Path) -> WebSocketAuth:
    """The token ``open-sesame``, said in each way."""
    if request.param == "file":
        path = written(tmp_path, b"  open-sesame \n")
        return WebSocketAuth(mode="capability-token", token_file=path)
    digest = hashlib.sha256(b"open-sesame").hexdigest().upper()
    return WebSocketAuth(mode="capability-token", token_sha256=f" {digest} ")


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        (bearer("open-sesame"), True),
        ({"Authorization": "bearer open-sesame"}, True),
        ({"Authorization": "BEARER   open-sesame  "}, True),
        ({}, False),
        (bearer(""), False),
        (bearer("open-sesam"), False),
        (bearer("open-sesame2"), False),
        (bearer("Open-Sesame"), False),
        ({"Authorization": "Bearer"}, False),
        ({"Authorization": "Basic open-sesame"}, False),
        ({"Authorization": "open-sesame"}, False),
        ({"Sec-WebSocket-Protocol": "bearer.open-sesame"}, False),
        (bearer("\udcff"), False),
    ],
)
def test_a_capability_token_opens(
    capability: WebSocketAuth, headers: dict[str, str], passes: bool
) -> None:
    authorize = capability.authorize()
    assert authorize is not None
    assert authorize(headers) is passes


# Signed tokens

NOW = int(time.time())
TIMES: list[tuple[Json, bool]] = [
    ({"exp": NOW + 60}, True),
    ({"exp": NOW - 20}, True),
    ({"exp": NOW - 45}, False),
    ({"exp": -5}, False),
    ({}, False),
    ({"exp": None}, False),
    ({"exp": str(NOW + 60)}, False),
    ({"exp": NOW + 60.5}, False),
    ({"exp": NOW + 60, "nbf": NOW + 20}, True),
    ({"exp": NOW + 600, "nbf": NOW + 50}, False),
    ({"exp": NOW + 600, "nbf": None}, True),
    ({"exp": NOW + 600, "nbf": "x"}, False),
    ({"exp": NOW + 600, "iat": NOW + 5000}, True),
    ({"exp": NOW + 600, "iss": "anybody", "aud": "anything"}, True),
    ({"exp": NOW + 600, "iss": 5}, False),
    ({"exp": NOW + 600, "aud": 5}, False),
]
PARTIES: list[tuple[Json, bool]] = [
    ({"iss": "me", "aud": "you"}, True),
    ({"iss": "me", "aud": ["others", "you"]}, True),
    ({"iss": "me", "aud": []}, False),
    ({"iss": "me", "aud": ["others"]}, False),
    ({"iss": "me", "aud": "others"}, False),
    ({"iss": "me"}, False),
    ({"aud": "you"}, False),
    ({"iss": "him", "aud": "you"}, False),
    ({"iss": ["me"], "aud": "you"}, False),
]


def signed(tmp_path: Path, **checks: Any) -> WebSocketAuth:
    """The flags for signed tokens."""
    path = written(tmp_path, f" {SECRET}\n".encode())
    return WebSocketAuth(mode="signed-bearer-token", shared_secret_file=path, **checks)


def passes(auth: WebSocketAuth, token: str) -> bool:
    """Whether a token opens."""
    authorize = auth.authorize()
    assert authorize is not None
    return authorize(bearer(token))


@pytest.mark.parametrize(("claims", "passing"), TIMES)
def test_a_signed_token_holds_for_its_time(tmp_path: Path, claims: Json, passing: bool) -> None:
    assert passes(signed(tmp_path), jwt(claims)) is passing


@pytest.mark.parametrize(("claims", "passing"), PARTIES)
def test_a_signed_token_says_for_whom_it_is(tmp_path: Path, claims: Json, passing: bool) -> None:
    auth = signed(tmp_path, issuer=" me ", audience="you")
    assert passes(auth, jwt({"exp": NOW + 600, **claims})) is passing


@pytest.mark.parametrize(
    ("skew", "expired", "passing"), [(0, 5, False), (300, 200, True), (300, 500, False)]
)
def test_clocks_may_differ_as_far_as_is_said(
    tmp_path: Path, skew: int, expired: int, passing: bool
) -> None:
    auth = signed(tmp_path, max_clock_skew_seconds=skew)
    assert passes(auth, jwt({"exp": NOW - expired})) is passing


def test_an_empty_issuer_is_none(tmp_path: Path) -> None:
    assert passes(signed(tmp_path, issuer="  "), jwt({"exp": NOW + 60}))


def test_only_a_right_signature_counts(tmp_path: Path) -> None:
    auth, claims = signed(tmp_path), {"exp": NOW + 60}
    right = jwt(claims)
    assert passes(auth, right)
    assert passes(auth, jwt(claims, typ="at+jwt"))
    head, body, signature = right.split(".")
    unsigned = f"{part({'alg': 'none'})}.{body}."
    wrong = [
        jwt(claims, secret=SECRET[::-1]),
        jwt(claims, secret=f" {SECRET}\n"),
        *(jwt(claims, alg=alg) for alg in ("HS384", "HS512", "none", "RS256")),
        *(unsigned, f"{head}.{body}.", f"{head}.{body}", f"{body}.{signature}", "", ".", ".."),
        *(f"{right}=", f"{right}.", f"x{right}", right[:-3] + "AAA", right.replace(".", " ", 1)),
        *(jwt([1]), jwt("text"), jwt(b"\xff"), jwt(b"[" * 100_000), "ü.ü.ü", "\udcff"),
    ]
    for token in wrong:
        assert not passes(auth, token), token


# Flags that make no sense


@pytest.mark.parametrize(
    "flags",
    [
        {"mode": None, "token_file": "x"},
        {"mode": None, "issuer": "x"},
        {"mode": "capability-token"},
        {"mode": "capability-token", "token_file": "x", "token_sha256": "ab" * 32},
        {"mode": "capability-token", "token_sha256": "abcd"},
        {"mode": "capability-token", "token_sha256": "zz" * 32},
        {"mode": "capability-token", "token_file": "/nowhere/at/all"},
        {"mode": "capability-token", "token_file": "x", "issuer": "me"},
        {"mode": "capability-token", "token_file": "x", "shared_secret_file": "x"},
        {"mode": "signed-bearer-token"},
        {"mode": "signed-bearer-token", "shared_secret_file": "x", "token_file": "x"},
        {"mode": "signed-bearer-token", "shared_secret_file": "/nowhere/at/all"},
    ],
)
def test_flags_that_do_not_go_together_are_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        WebSocketAuth(**flags).authorize()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b" \n", "no secret"),
        (b"hush\xff" * 20, "UTF-8"),
        (b"hush" * 7 + b"hus", "shorter than 32 bytes"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = written(tmp_path, content)
    auth = WebSocketAuth(mode="signed-bearer-token", shared_secret_file=path)
    with pytest.raises(InvalidRequest, match=words) as refused:
        auth.authorize()
    assert "hush" not in f"{refused.value} {refused.value.hint}"


def test_a_negative_skew_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        signed(tmp_path, max_clock_skew_seconds=-1).authorize()


# What clients may do


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *(("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)),
        *(("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("example.org", False)),
        *(("::ffff:10.0.0.1", False), ("", False), ("localhost.example.org", False)),
    ],
)
def test_what_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_who_comes_by_a_pipe_is_the_user(tmp_path: Path) -> None:
    for listen in ("stdio://", "unix:///run/s"):
        access = access_to(listen, WebSocketAuth())
        assert access == Access()
        access.check_images([LocalImage(written(tmp_path, b"png"))])
        with pytest.raises(InvalidRequest):
            access_to(listen, WebSocketAuth(), origins=["https://example.org"])


def test_clients_by_tcp_name_no_file_but_where_they_may(tmp_path: Path) -> None:
    inside, outside = tmp_path / "images", tmp_path / "images2"
    inside.mkdir()
    outside.mkdir()
    picture, secret = inside / "a.png", outside / "b.png"
    picture.write_bytes(b"png")
    secret.write_bytes(b"png")
    inside.joinpath("link").symlink_to(secret)
    said = [Text("see"), Image("data:image/png;base64,AA")]
    closed = access_to(LOCAL, WebSocketAuth())
    closed.check_images(said)
    with pytest.raises(InvalidRequest):
        closed.check_images([*said, LocalImage(str(picture))])
    access = access_to(LOCAL, WebSocketAuth(), image_folders=[str(inside)])
    access.check_images([*said, LocalImage(str(picture)), LocalImage(str(inside / "missing"))])
    for path in (
        *(str(secret), str(inside / "link"), str(inside / ".." / "images2" / "b.png")),
        *("a.png", "", "/etc/passwd", f"{picture}\0", str(outside / "missing"), str(inside)),
    ):
        with pytest.raises(InvalidRequest):
            access.check_images([LocalImage(path)])


def test_only_files_are_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path(os.devnull)):
        with pytest.raises(InvalidRequest, match="not a file"):
            Access().check_images([LocalImage(str(path))])


def test_requests_of_other_machines_are_limited() -> None:
    assert access_to(LOCAL, WebSocketAuth()).requests_per_second is None
    assert access_to(REMOTE, WebSocketAuth()).requests_per_second == REMOTE_REQUESTS
    for said, limit in ((7.0, 7.0), (0.0, None)):
        for listen in (LOCAL, REMOTE, "stdio://"):
            access = access_to(listen, WebSocketAuth(), requests_per_second=said)
            assert access.requests_per_second == limit


def test_an_allowance_is_saved_up_for_a_while() -> None:
    now = 0.0
    allowance = Allowance(2.0, clock=lambda: now)
    most = int(2 * BURST_SECONDS)

    def taken() -> int:
        return sum(allowance.take() for _ in range(100))

    assert taken() == most
    now += 1.5
    assert taken() == 3
    now += 1000
    assert taken() == most
    assert all(Allowance(None).take() for _ in range(1000))


async def test_a_client_that_asks_too_much_is_told_to_wait(world: World) -> None:
    world.app.access = Access(requests_per_second=1)
    eager, other = await world.connect(), await world.connect()
    ids = [await eager.begin("thread/loaded/list") for _ in range(50)]
    await eager.until(lambda: eager.heard[-1].get("id") == ids[-1])
    errors = [message["error"] for message in eager.heard if "error" in message]
    assert 10 < len(errors) < 50
    assert {error["code"] for error in errors} == {-32001}
    assert errors[0]["data"] == {"errorInfo": "server_overloaded"}
    assert (await other.ask("thread/loaded/list"))["data"] == []


@pytest.mark.parametrize("method", ["thread/resume", "thread/fork"])
async def test_a_path_names_a_thread_of_the_store_or_none(tmp_path: Path, method: str) -> None:
    """Codex reads any file that a client names here."""
    async with serving(LocalHarness(tmp_path).open()) as world:
        client = await world.connect()
        thread_id = await client.start()
        await client.turn(thread_id)
        path = (await client.ask("thread/read", threadId=thread_id))["thread"]["path"]
        foreign = tmp_path.parent / os.path.basename(path)
        foreign.write_bytes(Path(path).read_bytes())
        for wrong in (str(foreign), f"{path}/../{os.path.basename(path)}", "/etc/passwd", "x"):
            for named in (thread_id, UNKNOWN, ""):
                error = await client.refusal(method, threadId=named, path=wrong)
                assert error.code == -32600
                assert "path" in error.message
        for right in (path, "", None):
            answer = await client.ask(method, threadId=thread_id, path=right)
            assert answer["thread"]["turns"]
        assert (await client.ask(method, threadId=UNKNOWN, path=path))["thread"]["turns"]
