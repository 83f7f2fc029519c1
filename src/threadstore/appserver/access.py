"""Who may connect, and what they may do: bearer tokens, files of the server, requests per second.

The flags and their rules are those of Codex 0.169 (observed). Secrets are kept as digests where
that is enough, and never appear in an error or a log.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stat
import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from threadstore.engine import LocalImage
from threadstore.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from threadstore.jsonrpc.transports.websocket import Authorize

__all__ = ["Access", "Allowance", "WebSocketAuth", "access_to", "is_loopback"]

SECRET_BYTES: Final = 32
"""The least that a secret for signatures has (Codex)."""
CLOCK_SKEW: Final = 30
"""Seconds by which the clocks of two machines may differ, unless said otherwise (Codex)."""
REMOTE_REQUESTS: Final = 100.0
"""Requests per second of a client on another machine, unless said otherwise."""
BURST_SECONDS: Final = 5.0
"""So many seconds' worth of requests may come at once."""


class WebSocketAuth(msgspec.Struct, frozen=True, kw_only=True):
    """What the flags ``--ws-…`` say."""

    mode: Literal["capability-token", "signed-bearer-token"] | None = None
    token_file: str | None = None
    token_sha256: str | None = None
    shared_secret_file: str | None = None
    issuer: str | None = None
    audience: str | None = None
    max_clock_skew_seconds: int | None = None

    def authorize(self) -> Authorize | None:
        """What checks a handshake; ``None`` if nobody has to say who they are.

        Reads the files once. Raises :class:`InvalidRequest` for flags that do not go together and
        for secrets that are none.
        """
        token = (self.token_file, self.token_sha256)
        signed = (
            *(self.shared_secret_file, self.issuer),
            *(self.audience, self.max_clock_skew_seconds),
        )
        if self.mode is None:
            _refuse([*token, *signed], "a flag --ws-… needs --ws-auth beside it")
            return None
        if self.mode == "capability-token":
            _refuse(signed, "that flag is one of --ws-auth signed-bearer-token")
            digest = self._token_digest()
            return lambda headers: _is_token(_bearer(headers), digest)
        _refuse(token, "that flag is one of --ws-auth capability-token")
        check = self._signature_check()
        return lambda headers: check(_bearer(headers))

    def _token_digest(self) -> bytes:
        if self.token_file is not None and self.token_sha256 is not None:
            raise InvalidRequest("give --ws-token-file or --ws-token-sha256, not both")
        if self.token_file is not None:
            return hashlib.sha256(_secret(self.token_file)).digest()
        if self.token_sha256 is None:
            raise InvalidRequest(
                "--ws-auth capability-token needs --ws-token-file or --ws-token-sha256"
            )
        if not re.fullmatch("[0-9a-fA-F]{64}", self.token_sha256.strip()):
            raise InvalidRequest("--ws-token-sha256 must be 64 hexadecimal digits")
        return bytes.fromhex(self.token_sha256.strip())

    def _signature_check(self) -> Callable[[str | None], bool]:
        if self.shared_secret_file is None:
            raise InvalidRequest("--ws-auth signed-bearer-token needs --ws-shared-secret-file")
        secret = _secret(self.shared_secret_file)
        if len(secret) < SECRET_BYTES:
            raise InvalidRequest(
                f"the secret in {self.shared_secret_file} is shorter than {SECRET_BYTES} bytes",
                hint=f"make one: openssl rand -hex {SECRET_BYTES}",
            )
        skew = CLOCK_SKEW if self.max_clock_skew_seconds is None else self.max_clock_skew_seconds
        if skew < 0:
            raise InvalidRequest("--ws-max-clock-skew-seconds must not be negative")
        issuer, audience = (self.issuer or "").strip(), (self.audience or "").strip()

        def check(token: str | None) -> bool:
            claims = _claims(token, secret)
            return claims is not None and _is_valid(claims, issuer, audience, skew)

        return check


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What clients of a listener may do. As it stands: what the user who runs the server may."""

    authorize: Authorize | None = None
    """Checks the headers of a handshake."""
    origins: tuple[str, ...] = ()
    """Of web pages that may connect."""
    image_folders: tuple[str, ...] | None = None
    """Where the server reads images that clients name; ``None``: anywhere."""
    requests_per_second: float | None = None
    """Of one connection; ``None``: no limit."""

    def check_images(self, parts: Iterable[object]) -> None:
        """Raise :class:`InvalidRequest` for a file of the server that a client may not name."""
        for part in parts:
            if isinstance(part, LocalImage):
                self._check_image(part.path)

    def _check_image(self, path: str) -> None:
        if self.image_folders is not None and not _is_below(path, self.image_folders):
            raise InvalidRequest(
                "this server reads no file at a path that a client names",
                hint="send the image as a data: URL, or start the server with --allow-path",
            )
        try:
            is_file = stat.S_ISREG(os.stat(path).st_mode)
        except (OSError, ValueError):
            return  # the model is told that it cannot be read
        if not is_file:
            raise InvalidRequest(f"not a file: {path}")


def access_to(
    listen: str,
    auth: WebSocketAuth,
    *,
    origins: Iterable[str] = (),
    image_folders: Iterable[str] = (),
    requests_per_second: float | None = None,
) -> Access:
    """What clients at *listen* may do.

    Who comes by a pipe or a unix socket is the user who runs the server. Whoever comes by TCP may
    be somebody else: *origins* and *image_folders* are for them. *requests_per_second*: 0 is no
    limit, ``None`` the default: none on this machine. Raises :class:`InvalidRequest` for flags that
    make no sense.
    """
    authorize = auth.authorize()
    if not listen.lstrip().lower().startswith("ws:"):
        if authorize is not None or any(origins) or any(image_folders):
            raise InvalidRequest("--ws-…, --allow-origin and --allow-path are for ws://HOST:PORT")
        return Access(requests_per_second=requests_per_second or None)
    from urllib.parse import urlsplit  # here, and below: a server on a pipe starts without it

    loopback = is_loopback(urlsplit(listen).hostname or "")
    if requests_per_second is None and not loopback:
        requests_per_second = REMOTE_REQUESTS
    return Access(
        authorize=authorize,
        origins=tuple(origins),
        image_folders=tuple(os.path.realpath(folder) for folder in image_folders),
        requests_per_second=requests_per_second or None,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches *host*."""
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Allowance:
    """How many requests a connection may still make: so many per second, saved up for a while."""

    def __init__(
        self, per_second: float | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._clock = clock
        self._left = self._most = (per_second or 0.0) * BURST_SECONDS
        self._counted_at = clock()

    def take(self) -> bool:
        """Whether one more is allowed now; then it is counted."""
        if self._per_second is None:
            return True
        now = self._clock()
        saved = (now - self._counted_at) * self._per_second
        self._left, self._counted_at = min(self._left + saved, self._most), now
        if self._left < 1:
            return False
        self._left -= 1
        return True


# Tokens


class _Header(msgspec.Struct):
    alg: str


class _Claims(msgspec.Struct):
    exp: int
    nbf: int | None = None
    iss: str | None = None
    aud: str | list[str] | None = None


def _refuse(flags: Iterable[object], why: str) -> None:
    if any(value is not None for value in flags):
        raise InvalidRequest(why)


def _secret(path: str) -> bytes:
    try:
        with open(path, encoding="utf-8") as file:
            secret = file.read().strip()
    except UnicodeDecodeError:
        raise InvalidRequest(f"the secret in {path} is not UTF-8") from None
    except OSError as error:
        raise InvalidRequest(f"cannot read the secret in {path}: {error.strerror}") from error
    if not secret:
        raise InvalidRequest(f"there is no secret in {path}")
    return secret.encode()


def _bearer(headers: Mapping[str, str]) -> str | None:
    """The token of the one ``Authorization`` header."""
    try:
        scheme, _, token = headers["Authorization"].strip().partition(" ")
    except LookupError:  # none, or several
        return None
    return (token.strip() or None) if scheme.lower() == "bearer" else None


def _is_token(token: str | None, digest: bytes) -> bool:
    if token is None:
        return False
    given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
    return hmac.compare_digest(given, digest)


def _claims(token: str | None, secret: bytes) -> _Claims | None:
    """What a JWT says whose signature (HS256, nothing else) is right; else ``None``."""
    signed, _, signature = (token or "").rpartition(".")
    header, _, body = signed.partition(".")
    try:
        right = hmac.digest(secret, signed.encode("ascii"), "sha256")
        if not hmac.compare_digest(right, _decoded(signature)):
            return None
        if msgspec.json.decode(_decoded(header), type=_Header).alg != "HS256":
            return None
        return msgspec.json.decode(_decoded(body), type=_Claims)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return None


def _decoded(text: str) -> bytes:
    if "=" in text:
        raise ValueError("padding")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _is_valid(claims: _Claims, issuer: str, audience: str, skew: int) -> bool:
    now = time.time()
    heard = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
    return (
        now <= claims.exp + skew
        and (claims.nbf is None or now >= claims.nbf - skew)
        and (not issuer or claims.iss == issuer)
        and (not audience or audience in heard)
    )


# Files


def _is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether *path*, links followed, is in one of *folders*."""
    if not os.path.isabs(path) or "\0" in path:
        return False
    real = os.path.realpath(path)
    return any(os.path.commonpath((real, folder)) == folder for folder in folders)
