"""``/owners``: who posts items."""

from __future__ import annotations

from typing import Any

from serving.http.endpoints import Endpoints
from serving.routes.catalogue.entities import Kind, declare
from serving.routes.catalogue.shapes import Owner, OwnerBody, OwnerEntry, OwnersEnvelope

EXAMPLE: dict[str, Any] = {
    "id": "ana",
    "average_rating": 4.8,
    "completion_rate": 0.97,
    "finished_jobs": 31,
}
PATCH: dict[str, Any] = {"finished_jobs": 32}
KIND = Kind("owners", "owner", OwnerBody, OwnerEntry, OwnersEnvelope, Owner, EXAMPLE, PATCH)
endpoints = Endpoints(tag="owners", scope="admin", problems=(503,))
declare(endpoints, KIND, read="read")
