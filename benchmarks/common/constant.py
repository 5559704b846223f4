"""A Bento that returns one stored answer: the ceiling of the server that the feed runs on.

The settings are those of ``serving/service.py``. ``CONSTANT_BODY`` names the file of the answer.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import AsyncIterator
from pathlib import Path

import bentoml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.bentoml_internals import WithoutFolder

BODY = Path(os.environ["CONSTANT_BODY"]).read_bytes()


async def answer(request: Request) -> Response:
    return Response(BODY, media_type="application/json", headers={"Cache-Control": "no-store"})


@contextlib.asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncIterator[None]:
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    yield


@bentoml.service(
    name="constant",
    traffic={"timeout": 5},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [".*"]},
)
@bentoml.asgi_app(Starlette(routes=[Route("/api/v1/feed", answer)], lifespan=_lifespan), path="/")
class Constant(WithoutFolder):
    """The same answer to everybody."""
