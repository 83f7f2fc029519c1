"""A model behind OpenAI's Responses API, or any server that speaks it."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit, urlunsplit

from threadstore.clock import UTC, SystemClock
from threadstore.engine.model import Completed, ModelError, ModelEvent, ModelRequest, RateLimits
from threadstore.engine.responses import ResponseReader, error_of, rate_limits_of
from threadstore.errors import InvalidRequest, Unsupported

if TYPE_CHECKING:
    import openai

__all__ = ["OpenAIModel"]

Json = dict[str, Any]

_OPENAI: Final = "https://api.openai.com/v1"
_NO_KEY: Final = "none"
"""Sent where a server asks for no key; the package insists on one."""
_CONNECT_TIMEOUT: Final = 15.0
_LONGEST_BODY: Final = 500
_LONGEST_END: Final = 1.0
"""Seconds for what comes after the last event; then the connection is closed instead."""
_WAIT_FOR_CONNECTION: Final = 0.1
"""Seconds that a request waits for the connections of others to become free: less than a new one
takes to be made, in most places."""
_NOT_CONNECTED: Final = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "ProxyError",
}
"""Errors of the HTTP client for a request that nobody has got. By name: which HTTP library the
package uses depends on its release."""


class OpenAIModel:
    """Implements :class:`~threadstore.engine.model.Model` with the official ``openai`` package.

    *base_url* is any server of the Responses API (default: OpenAI's own); one on your machine
    needs no *api_key*. *timeout*: seconds of silence after which a request counts as lost.
    *headers* go with every request. *client*: your own ``AsyncOpenAI``, configured as you like,
    instead of all these; it stays yours to close.

    Never tries again by itself, and stores nothing on the server (``store: false``). The
    environment is not read: ``OPENAI_API_KEY``, ``OPENAI_BASE_URL`` and the like have no effect,
    except that the HTTP client honours proxies (``HTTPS_PROXY``, ``NO_PROXY``) and certificates
    (``SSL_CERT_FILE``), as every client does. Close it with :meth:`close` or ``async with``.

    Raises :class:`InvalidRequest` without *base_url*, *api_key* and *client*, and
    :class:`Unsupported` if the extra ``threadstore[openai]`` is not installed.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 300.0,
        client: openai.AsyncOpenAI | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._openai = _package()
        self._own = client is None
        self._secret = api_key
        if client is None:
            headers = dict(headers or {})
            _check(base_url, api_key, headers)
            client = self._make(base_url or _OPENAI, api_key or _NO_KEY, timeout, headers)
        self._client = client.with_options(max_retries=0) if not self._own else client
        self._shown_url = _without_credentials(str(client.base_url))
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._own:
            await self._client.close()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer *request*; see :class:`~threadstore.engine.model.Model`."""
        limits: Json | None
        if self._ending:
            await asyncio.wait(self._ending, timeout=_WAIT_FOR_CONNECTION)
        try:
            stream = await self._post(request)
        except self._openai.APIStatusError as error:
            if (limits := rate_limits_of(error.response.headers)) is not None:
                yield RateLimits(limits)
            raise self._refused(error) from error
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(stream)
            if (limits := rate_limits_of(stream.response.headers)) is not None:
                yield RateLimits(limits)
            reader = ResponseReader()
            while (event := await self._next(stream)) is not None:
                known = reader.read(event)
                if isinstance(known, Completed):
                    self._let_end(stream, opened.pop_all())
                    yield known
                    return
                if known is not None:
                    yield known
        kind = stream.response.headers.get("content-type", "")
        found = "" if "event-stream" in kind else f"; the answer is {kind or 'of no known type'}"
        raise _lost(f"the stream ended before the response was complete{found}")

    def _make(
        self, base_url: str, api_key: str, timeout: float, headers: dict[str, str]
    ) -> openai.AsyncOpenAI:
        client: openai.AsyncOpenAI = self._openai.AsyncOpenAI(
            base_url=base_url,
            api_key=api_key,
            max_retries=0,
            timeout=self._openai.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
        )
        # The package takes these from the environment, of which only the caller may decide.
        client.organization = client.project = None
        client._custom_headers = headers
        return client

    async def _post(self, request: ModelRequest) -> openai.AsyncStream[object]:
        # Not through `responses.create`, which would take the items apart: they go and come whole.
        try:
            return await self._client.post(
                "/responses",
                body=_body(request),
                cast_to=object,
                stream=True,
                stream_cls=self._openai.AsyncStream[object],
            )
        except self._openai.APIConnectionError as error:
            cause = error.__cause__ or error
            kind = "response_stream_connection_failed"
            what = "no answer from"
            if type(cause).__name__ in _NOT_CONNECTED:
                kind, what = "http_connection_failed", "cannot connect to"
            message = self._hide(f"{what} {self._shown_url}: {str(cause) or type(cause).__name__}")
            raise ModelError(message, kind=kind, retryable=True) from error

    async def _next(self, stream: openai.AsyncStream[object]) -> Json | None:
        """The next event that is an object; ``None`` at the end."""
        while True:
            try:
                event = await anext(stream)
            except StopAsyncIteration:
                return None
            except self._openai.APIConnectionError as error:
                cause = error.__cause__ or error
                what = str(cause) or type(cause).__name__
                raise _lost(self._hide(f"the stream broke: {what}")) from error
            except self._openai.APIError as error:  # an `error` in the data of an event
                body = error.body if isinstance(error.body, dict) else {"message": error.message}
                raise error_of(body) from error
            except ValueError as error:
                raise _lost(f"the stream has a malformed event: {error}") from error
            if isinstance(event, dict):
                return event

    def _let_end(self, stream: openai.AsyncStream[object], opened: AsyncExitStack) -> None:
        """Read a stream to its end, behind the back of who got its last event: a connection serves
        the next request only if nothing of the last answer is left in it."""

        async def read() -> None:
            async with opened, asyncio.timeout(_LONGEST_END):
                while await self._next(stream) is not None:
                    pass

        task = asyncio.create_task(read())
        self._ending.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled():
            task.exception()  # of an answer that was complete: it matters to nobody

    def _refused(self, error: openai.APIStatusError) -> ModelError:
        """An answer with an error status."""
        status, headers = error.status_code, error.response.headers
        body = error.body if isinstance(error.body, dict) else {"message": error.body}
        inner = body.get("error", body)
        told = inner if isinstance(inner, dict) else {"message": inner}
        text = told.get("message") or told.get("detail") or error.response.reason_phrase
        message = self._hide(f"HTTP {status}: {str(text)[:_LONGEST_BODY]}")
        known = error_of({**told, "message": message})
        kind, retryable = _by_status(status, known)
        return ModelError(
            message,
            kind=kind,
            retryable=retryable,
            retry_after=_retry_after(headers, known) if retryable else None,
            http_status=status,
        )

    def _hide(self, message: str) -> str:
        return message.replace(self._secret, "***") if self._secret else message


def _package() -> ModuleType:
    try:
        import openai
    except ImportError as error:
        raise Unsupported(
            "OpenAIModel",
            "the openai package is not installed",
            hint="pip install 'threadstore[openai]'",
        ) from error
    return openai


def _check(base_url: str | None, api_key: str | None, headers: Mapping[str, str]) -> None:
    if base_url is None and not api_key:
        raise InvalidRequest(
            "no API key for the model",
            hint="pass api_key, or the base_url of a server that needs none",
        )
    if base_url is not None and not _is_server(base_url):
        raise InvalidRequest(
            f"not the URL of a model server: {base_url.rpartition('@')[2]!r}",
            hint="it looks like http://127.0.0.1:8000/v1",
        )
    for name, value in {"api_key": api_key or "", **headers}.items():
        if not (value.isascii() and value.isprintable()):
            raise InvalidRequest(
                f"{name} has a character that no HTTP header can carry",
                hint="look for a line break at its end",
            )


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # of a port or an IPv6 address
        return False


def _body(request: ModelRequest) -> Json:
    body: Json = {
        "model": request.model,
        "input": [item for item in request.input if not _is_hollow(item)],
        "stream": True,
        "store": False,
    }
    if request.instructions:
        body["instructions"] = request.instructions
    if request.tools:
        body["tools"] = list(request.tools)
        body["tool_choice"] = "auto"
        body["parallel_tool_calls"] = request.parallel_tool_calls
    reasoning = {"effort": request.reasoning_effort, "summary": request.reasoning_summary}
    if asked := {name: value for name, value in reasoning.items() if value is not None}:
        body["reasoning"] = asked
        # Without it the next request could not show the model what it thought.
        body["include"] = ["reasoning.encrypted_content"]
    if request.output_schema is not None:
        schema = {"name": "output", "strict": True, "schema": request.output_schema}
        body["text"] = {"format": {"type": "json_schema", **schema}}
    if request.cache_key is not None:
        body["prompt_cache_key"] = request.cache_key
    return body


def _is_hollow(item: Json) -> bool:
    """Reasoning by reference to what the server kept, which is nothing: it would be refused."""
    return (
        item.get("type") == "reasoning"
        and not item.get("encrypted_content")
        and not item.get("content")
    )


def _lost(message: str) -> ModelError:
    return ModelError(message, kind="response_stream_disconnected", retryable=True)


def _by_status(status: int, known: ModelError) -> tuple[str, bool]:
    """The kind of an error answer and whether to try again; a code that says it all goes first."""
    if known.kind in ("context_window_exceeded", "usage_limit_exceeded", "server_overloaded"):
        return known.kind, known.retryable
    if status in (401, 403):
        return "unauthorized", False
    if status == 429:
        return "response_too_many_failed_attempts", True
    if status >= 500:
        return "internal_server_error", True
    if status == 408:
        return "response_stream_connection_failed", True
    return "bad_request", False


def _retry_after(headers: Mapping[str, str], known: ModelError) -> float | None:
    """Seconds by ``retry-after-ms``, ``retry-after`` (seconds or a date), or the message."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers.get(name, "")) * unit)
        except ValueError:
            continue
    at = _date(headers.get("retry-after"))
    if at is None:
        return known.retry_after
    now = _date(headers.get("date")) or SystemClock().now()
    return max(0.0, (at - now).total_seconds())


def _date(text: str | None) -> dt.datetime | None:
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _without_credentials(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
