"""Ingest in an application of its own, without a feed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.http.paths import AsRouted
from serving.http.problems import EXCEPTION_HANDLERS
from serving.ingest import Ingest, ingest_routes
from serving.postgres.database import Database, database_address
from storage.settings import get_settings


def application(address: Callable[[], str], folder: Path, **options: Any) -> Starlette:
    ingest = Ingest(address, folder, **options)
    database = Database(address)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await ingest.start()
        yield
        await ingest.close()
        await database.close()

    app = Starlette(
        routes=[
            *ingest_routes(database, ingest),
            Route("/readyz", lambda request: Response()),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        middleware=[Middleware(AsRouted)],
        lifespan=lifespan,
    )
    app.state.ingest = ingest
    return app


def of_settings() -> Starlette:
    """For ``uvicorn --factory``: ingest on the settings of the environment."""
    settings = get_settings()
    return application(lambda: database_address(settings), settings.home / "serving" / "spool")


@contextlib.contextmanager
def ingest_on(address: Callable[[], str], folder: Path, **options: Any) -> Iterator[TestClient]:
    app = application(address, folder, **options)
    with TestClient(app, base_url="http://feed/api/v1", raise_server_exceptions=False) as client:
        yield client


def event(**fields: Any) -> dict[str, Any]:
    """A good event but for ``fields``; those that are ``...`` are left out."""
    made = {
        "event_id": str(uuid4()),
        "user_id": "u1",
        "item_id": "i1",
        "type": "click",
        "occurred_at": datetime.now(UTC).isoformat(),
        "metadata": {"position": 1},
        **fields,
    }
    return {name: value for name, value in made.items() if value is not ...}
