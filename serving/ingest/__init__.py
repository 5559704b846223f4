"""Ingest: what users do, taken in durably and once; what was refused, to be mended."""

from __future__ import annotations

from starlette.routing import Route

from serving.ingest import admin, tracking
from serving.ingest.admin import RejectedCalls
from serving.ingest.service import Ingest
from serving.ingest.tracking import IngestCalls
from serving.postgres.database import Database

GROUPS = (tracking.endpoints, admin.endpoints)
__all__ = ["GROUPS", "Ingest", "ingest_routes"]


def ingest_routes(database: Database, ingest: Ingest) -> list[Route]:
    return [
        *tracking.endpoints.routes(IngestCalls(ingest)),
        *admin.endpoints.routes(RejectedCalls(database, ingest)),
    ]
