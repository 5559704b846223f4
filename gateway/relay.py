"""Hands calls on to a console, and its answers back: streamed both ways, nothing is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress

import httpcore
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from gateway.consoles import Console

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 2.0
"""Connections unused for so long are closed by us: the consoles' servers do so after 5 s."""

Header = tuple[bytes, bytes]
Headers = Iterable[Header]

_OF_ONE_CONNECTION = frozenset(
    (
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_CHECKED = frozenset((b"origin",))
"""Not handed on: MLflow would judge by rules of its own, and allow pages of any local port."""
_DEFAULTS = ((b"x-frame-options", b"SAMEORIGIN"), (b"x-content-type-options", b"nosniff"))


class _CallerLeft(Exception):
    """In the middle of the request: there is nobody to answer."""


class Relay:
    """The way to one console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._pool = httpcore.AsyncConnectionPool(
            uds=str(console.socket), max_connections=None, keepalive_expiry=IDLE_SECONDS
        )

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request and its answer.

        Raises:
            HTTPException: 502, the console does not answer.
        """
        sent = dict(scope["headers"])
        has_body = b"content-length" in sent or b"transfer-encoding" in sent
        exchange = self._pool.stream(
            scope["method"],
            httpcore.URL(scheme=b"http", host=b"console", port=None, target=_target(scope)),
            headers=_without(scope["headers"], _CHECKED),
            content=_body(receive) if has_body else None,
            extensions={"timeout": {"connect": CONNECT_SECONDS}},
        )
        try:
            answer = await exchange.__aenter__()
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise self._away(error) from error
        except _CallerLeft:
            return
        try:
            response = StreamingResponse(answer.aiter_stream(), answer.status)
            response.raw_headers = _without(answer.headers)
            given = {name.lower() for name, _ in answer.headers}
            response.raw_headers += [pair for pair in _DEFAULTS if pair[0] not in given]
            await response(scope, receive, send)
        finally:
            await exchange.__aexit__(None, None, None)

    async def websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, until either side ends it.

        Raises:
            HTTPException: 502, the console does not take it.
        """
        try:
            console = await unix_connect(
                str(self._console.socket),
                f"ws://console{_target(scope).decode('latin-1')}",
                subprotocols=[Subprotocol(name) for name in scope["subprotocols"]] or None,
                compression=None,  # it would cost more than the socket saves
                max_size=None,
                ping_interval=None,
                open_timeout=CONNECT_SECONDS,
            )
        except (OSError, TimeoutError, WebSocketException) as error:
            raise self._away(error) from error
        async with console:
            await receive()  # websocket.connect
            await send({"type": "websocket.accept", "subprotocol": console.subprotocol})
            up = asyncio.create_task(_to_console(receive, console))
            down = asyncio.create_task(_to_page(console, send))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                if not (up.done() and up.result()):
                    await _close(console, send)
            finally:
                for task in (up, down):
                    task.cancel()
                await asyncio.gather(up, down, return_exceptions=True)

    def _away(self, error: Exception) -> HTTPException:
        return HTTPException(
            502,
            f"{self._console.name} does not answer ({str(error) or type(error).__name__}). It may "
            f"be starting; its log is `feedwright logs {self._console.service}`.",
        )


def _target(scope: Scope) -> bytes:
    """Path and query exactly as they were sent."""
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


def _without(headers: Headers, dropped: frozenset[bytes] = frozenset()) -> list[Header]:
    """Without what speaks of one connection alone, and what is ``dropped``."""
    pairs = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower()
        for name, value in pairs
        if name == b"connection"
        for token in value.split(b",")
    }
    return [pair for pair in pairs if pair[0] not in _OF_ONE_CONNECTION | named | dropped]


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """
    Raises:
        _CallerLeft: before the end, so the console must not take it for whole.
    """
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _CallerLeft
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _to_console(receive: Receive, console: ClientConnection) -> bool:
    """Until either side leaves; returns whether the page did."""
    try:
        while (message := await receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await console.send(message["bytes"] if text is None else text)
    except ConnectionClosed:
        return False
    return True


async def _to_page(console: ClientConnection, send: Send) -> None:
    """Until either side leaves."""
    with suppress(ConnectionClosed, OSError):
        async for data in console:
            kind = "text" if isinstance(data, str) else "bytes"
            await send({"type": "websocket.send", kind: data})


async def _close(console: ClientConnection, send: Send) -> None:
    """Pass on to the page what the console sent."""
    code = console.close_code
    with suppress(OSError):  # the page is gone too
        await send({"type": "websocket.close", "code": 1011 if code in (None, 1006) else code})
