"""Methods and who handles them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from threadstore.jsonrpc.calls import Call
from threadstore.jsonrpc.errors import InvalidParams, MethodNotFound, RpcError

__all__ = ["Dispatcher", "Guard", "Handler"]

P = TypeVar("P")

Handler: TypeAlias = Callable[[Call, P], Awaitable[object]]
"""Gets the call and its decoded parameters; what it returns is the result."""

Guard: TypeAlias = Callable[[Call], None]
"""May refuse a call, whose method and parameters are good, by raising :class:`RpcError`."""

_EMPTY: Final = Raw(b"{}")


class _Method:
    def __init__(
        self, handler: Handler[P], params: type[P], serial: str | Callable[[P], str] | None = None
    ) -> None:
        self.handler = handler
        self.serial = serial
        self._params = params

    @cached_property
    def decode(self) -> Callable[[Raw], Any]:
        """Made for the first call: those of fifty methods take longer than a first answer."""
        return msgspec.json.Decoder(self._params).decode


class Dispatcher:
    """A table of methods; calling it handles a call.

    A server of another dialect says its own errors: *unknown* makes the error for a method that
    nobody handles, *invalid* for parameters of another shape (from the method and what is wrong
    with them). Codex answers both with -32600.
    """

    def __init__(
        self,
        *,
        guard: Guard | None = None,
        unknown: Callable[[str], RpcError] = lambda method: MethodNotFound(
            f"Method not found: {method}"
        ),
        invalid: Callable[[str, str], RpcError] = lambda _, what: InvalidParams(
            f"Invalid params: {what}"
        ),
    ) -> None:
        self._guard = guard
        self._unknown = unknown
        self._invalid = invalid
        self._requests: dict[str, _Method] = {}
        self._notifications: dict[str, _Method] = {}

    def method(
        self,
        name: str,
        handler: Handler[P],
        params: type[P],
        *,
        serial: str | Callable[[P], str] | None = None,
    ) -> None:
        """Have *handler* answer requests of *name*, whose parameters msgspec decodes as *params*.

        Requests of one connection with the same *serial* key (a name, or one made of the
        parameters) run one after the other, in the order they came. Absent parameters, and
        ``null``, are an empty object.
        """
        assert name not in self._requests, name
        self._requests[name] = _Method(handler, params, serial)

    def notification(self, name: str, handler: Handler[P], params: type[P]) -> None:
        """Have *handler* hear notifications of *name*; they run as requests do."""
        assert name not in self._notifications, name
        self._notifications[name] = _Method(handler, params)

    async def __call__(self, call: Call) -> object:
        """The result of *call*. Up to its handler's first wait, calls are handled in order."""
        table = self._notifications if call.id is None else self._requests
        method = table.get(call.method)
        if method is None:
            raise self._unknown(call.method)
        params = self._decode(method, call)
        if self._guard is not None:
            self._guard(call)
        if method.serial is None:
            return await method.handler(call, params)
        key = method.serial if isinstance(method.serial, str) else method.serial(params)
        async with call.connection.lock(key):
            return await method.handler(call, params)

    def _decode(self, method: _Method, call: Call) -> Any:
        raw = _EMPTY if bytes(call.params) == b"null" else call.params
        try:
            return method.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._invalid(call.method, str(error)) from None
        except RecursionError:
            raise self._invalid(call.method, "nested too deeply") from None
