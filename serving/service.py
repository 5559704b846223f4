"""The Bento. ``serving/runner.py`` runs it."""

from __future__ import annotations

import os

import bentoml

from serving import traces
from serving.app import FeedApp
from storage.settings import get_settings

# "1" is not enough for it. Commands of bentoml read it before this: see serving/launch.py.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")

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
    # BentoML's own labels by raw path, an unbounded number; ours are in serving/metrics.py.
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
class Feed:
    """A feed, ranked for each user, with a reason for every item."""

    async def __is_ready__(self) -> bool:
        return _feed.is_ready()
