"""The Bento. ``serving/runner.py`` runs it."""

from __future__ import annotations

import os
from typing import Any, cast

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.app import FeedApp
from serving.bentoml_internals import WithoutFolder
from serving.telemetry import traces
from storage.settings import get_settings

# "1" is not enough for it. Commands of bentoml read it before this: see serving/launch.py.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

PROBES = ("/healthz", "/livez", "/readyz")
"""What BentoML itself answers."""

_feed = FeedApp(get_settings())
_tracing = get_settings().otlp_endpoint is not None
if _tracing:
    traces.prepare()


@bentoml.service(
    name="feedwright",
    workers=get_settings().feed_workers,
    # Every request leaves a timer of this length behind: a long one fills the memory that
    # the garbage collector looks through.
    traffic={"timeout": 5},
    # BentoML's own labels by raw path, an unbounded number; ours: serving/telemetry/metrics.py.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # The middleware halves the throughput even with nothing to export to.
    tracing={"excluded_urls": traces.UNTRACED if _tracing else [".*"]},
    # More threads a worker only fight over the cores.
    envs=[
        {"name": "OPENBLAS_NUM_THREADS", "value": "1"},
        {"name": "OMP_NUM_THREADS", "value": "1"},
    ],
)
@bentoml.asgi_app(_feed.asgi, path="/")
class Feed(WithoutFolder):
    """A feed, ranked for each user, with a reason for every item."""

    async def __is_ready__(self) -> bool:
        return _feed.is_ready()


class Ours:
    """A middleware: all but the probes goes straight to our application. BentoML's own routes ask
    for no key (``/schema.json``), and its mount takes no path with a line feed, as ids may have."""

    def __init__(self, app: ASGIApp) -> None:
        self._bento = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        theirs = scope["type"] == "lifespan" or scope["path"] in PROBES
        await (self._bento if theirs else _feed.asgi)(scope, receive, send)


cast("bentoml.Service[Any]", Feed).add_asgi_middleware(Ours)  # the decorator's type hides it
