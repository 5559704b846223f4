"""Every request is counted, and logged and traced where that is wanted, by the template of its
route: paths hold ids, and there is no end of them."""

from __future__ import annotations

import logging
from functools import cache
from time import perf_counter

from prometheus_client import Counter
from starlette.routing import Match, Route, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.telemetry import logs, traces
from serving.telemetry.metrics import HTTP_REQUESTS, TALLY

log = logging.getLogger("feedwright.serving")

SLOW_SECONDS = 1.0
METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
CUT_OFF = 504
"""What BentoML answers when it cancels a request that takes too long."""
ELSEWHERE = "other"


class Observed:
    """A middleware. Put it before all others: what they refuse counts too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CUT_OFF

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if traces.on():  # before the last part is sent: that ends the span
                    traces.answered(scope, route_of(scope))
            await send(message)

        token = logs.request.set(scope)
        traces.begun(scope)
        start = perf_counter()
        try:
            await self._app(scope, receive, watched)
        except Exception:  # it is answered, and logged, further out
            status = 500
            traces.answered(scope, route_of(scope))
            raise
        finally:
            _note(scope, status, perf_counter() - start)
            logs.request.reset(token)


def route_of(scope: Scope) -> str:
    """The template of the route that a request was, or would have been, handled by."""
    route = scope.get("route")
    if route is None:  # refused before the routes were asked
        matches = ((route, route.matches(scope)[0]) for route in scope["app"].routes)
        route = next((candidate for candidate, match in matches if match is not Match.NONE), None)
    return _template(route.path) if isinstance(route, Route) else ELSEWHERE


def _note(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in METHODS else ELSEWHERE
    route = route_of(scope)
    TALLY.count(_counter(route, method, status))
    failed, slow = status >= 500, seconds > SLOW_SECONDS
    level = logging.WARNING if failed or slow else logging.DEBUG
    if log.isEnabledFor(level):
        log.log(
            level,
            "request",
            extra={
                "method": method,
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 1),
            },
        )


@cache
def _counter(route: str, method: str, status: int) -> Counter:
    return HTTP_REQUESTS.labels(route, method, str(status))


@cache
def _template(path: str) -> str:
    """``/items/{id}`` of ``/items/{id:id}``; what nothing else answers is ``other``."""
    return ELSEWHERE if path == "/{path:path}" else compile_path(path)[1]
