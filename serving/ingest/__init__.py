"""Ingest: what users do, taken in durably and once.

``routes`` for trackers and products, ``admin_routes`` for what was refused.
"""

from __future__ import annotations

from serving.ingest import admin, tracking
from serving.ingest.admin import admin_routes
from serving.ingest.service import Ingest
from serving.ingest.tracking import routes

GROUPS = (tracking, admin)
__all__ = ["GROUPS", "Ingest", "admin_routes", "routes"]
