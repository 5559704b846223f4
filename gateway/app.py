"""The gateway as an ASGI application."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from http import HTTPStatus

import uvicorn
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.consoles import Console
from gateway.origins import refusal
from gateway.relay import Relay

HEALTH = "/-/healthy"
"""Answered by the gateway itself, whatever the consoles do."""
GRACE_SECONDS = 2
"""Pages hold WebSockets open for ever: nobody waits for them to end."""


class Gateway:
    """The port that a call comes in by says which console it is for."""

    def __init__(self, consoles: Sequence[Console], hosts: Collection[str] = ()) -> None:
        """``hosts``: names of this server, see ``refusal``."""
        self._relays = {console.port: Relay(console) for console in consoles}
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        relay = self._relays[scope["server"][1]]
        try:
            refused = refusal(scope, self._hosts)
            if refused is not None:
                raise HTTPException(403, refused)
            if scope["type"] == "websocket":
                await relay.websocket(scope, receive, send)
            elif scope["path"] == HEALTH:
                await PlainTextResponse("healthy\n")(scope, receive, send)
            else:
                await relay.http(scope, receive, send)
        except HTTPException as error:
            # Starlette answers a handshake by this too.
            await _problem(error)(scope, receive, send)


def server(gateway: Gateway) -> uvicorn.Server:
    """What serves it, on sockets that listen on the ports of its consoles."""
    return uvicorn.Server(
        uvicorn.Config(
            gateway,
            access_log=False,
            date_header=False,  # the consoles send theirs
            lifespan="off",
            log_level="warning",
            proxy_headers=False,  # who calls may not choose who they are
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ws_max_size=2**40,  # the console has its own limit
        )
    )


def _problem(error: HTTPException) -> Response:
    """A problem document (RFC 9457)."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": HTTPStatus(error.status_code).phrase,
            "status": error.status_code,
            "detail": error.detail,
        },
        error.status_code,
        media_type="application/problem+json",
    )
