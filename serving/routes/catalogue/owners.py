"""``/owners``: who posts items."""

from __future__ import annotations

from typing import Any

from starlette.routing import Route

from serving.http.answers import Api
from serving.routes.catalogue.entities import EntityCalls, Kind, described
from serving.routes.catalogue.shapes import Owner, OwnerBody, OwnerEntry, OwnersEnvelope

EXAMPLE: dict[str, Any] = {
    "id": "ana",
    "average_rating": 4.8,
    "completion_rate": 0.97,
    "finished_jobs": 31,
}
PATCH: dict[str, Any] = {"finished_jobs": 32}
KIND = Kind("owners", "owner", OwnerBody, OwnerEntry, OwnersEnvelope, Owner, EXAMPLE, PATCH)


def routes(api: Api) -> list[Route]:
    calls = EntityCalls(api.database, KIND)
    return [
        api.route("/api/v1/owners:bulk", compressed=True, POST=calls.bulk),
        api.route(
            "/api/v1/owners/{id:id}",
            GET=calls.get,
            PUT=calls.put,
            PATCH=calls.patch,
            DELETE=calls.delete,
        ),
    ]


SHAPES = [(Owner, "serialization"), (OwnerBody, "validation"), (OwnersEnvelope, "validation")]
PATHS = described(KIND)
