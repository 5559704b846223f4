"""A console and the gateway before it, on real sockets in threads of the test's process."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from gateway.app import Gateway, server
from gateway.consoles import Console

MIB = 2**20


@contextmanager
def running(server: uvicorn.Server, *sockets: socket.socket) -> Iterator[None]:
    """``sockets``: to listen on, unless the server knows."""
    thread = threading.Thread(target=server.run, args=([*sockets] or None,), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield
    server.should_exit = server.force_exit = True
    thread.join(10)


def plain(app: Any, **where: Any) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", **where))


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A bound socket, and the address of pages on it."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found, f"http://127.0.0.1:{found.getsockname()[1]}"


@dataclass
class FakeConsole:
    """Notes every call that reaches it; does by any method what it is asked."""

    seen: list[Request | WebSocket] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        anything = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
        return Starlette(
            routes=[
                Route("/count", self._count, methods=["POST", "PUT"]),
                Route("/large", self._large),
                Route("/slow", self._slow),
                Route("/broken", self._broken),
                WebSocketRoute("/graphql", self._echo),
                Route("/{path:path}", self._page, methods=anything),
            ]
        )

    async def _page(self, request: Request) -> Response:
        self.seen.append(request)
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse("<title>console</title>")
        sent = {name.decode(): value.decode() for name, value in request.headers.raw}
        target = request.scope["raw_path"].decode() + "?" + request.url.query
        return JSONResponse({"headers": sent, "target": target, "method": request.method})

    async def _count(self, request: Request) -> Response:
        """The bytes of the body, and of its largest piece."""
        pieces = [len(piece) async for piece in request.stream()]
        return JSONResponse({"bytes": sum(pieces), "largest": max(pieces)})

    async def _large(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(int(request.query_params["mib"])):
                yield b"x" * MIB

        return StreamingResponse(pieces())

    async def _slow(self, request: Request) -> Response:
        """Its second half comes once ``/go`` was asked for."""

        async def halves() -> AsyncIterator[bytes]:
            yield b"first"
            while not any(request.url.path == "/go" for request in self.seen):
                await asyncio.sleep(0.01)
            yield b"second"

        return StreamingResponse(halves(), headers={"Set-Cookie": "a=b"})

    async def _broken(self, request: Request) -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x" * 100
            raise RuntimeError("it broke")

        return StreamingResponse(pieces(), headers={"Content-Length": "200"})

    async def _echo(self, websocket: WebSocket) -> None:
        self.seen.append(websocket)
        await websocket.accept("graphql-ws")
        async for text in websocket.iter_text():
            if text == "leave":
                await websocket.close(4000)
                return
            await websocket.send_text(text)
            await websocket.send_bytes(text.encode())


@dataclass
class World:
    """
    Attributes:
        url: of the gateway.
    """

    console: FakeConsole
    url: str
    away_url: str


@contextmanager
def world() -> Iterator[World]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="feedwright-")))
        console = FakeConsole()
        first, url = stack.enter_context(listening())
        second, away = stack.enter_context(listening())
        port = first.getsockname()[1], second.getsockname()[1]
        consoles = [
            Console("Dagster", "dagster-webserver", port[0], folder / "here.sock"),
            Console("MLflow", "mlflow", port[1], folder / "away.sock"),
        ]
        stack.enter_context(running(plain(console.app, uds=str(folder / "here.sock"))))
        stack.enter_context(running(server(Gateway(consoles)), first, second))
        yield World(console, url, away)
