"""``/feed/nearby``: the nearest items around a point."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from models.catalogue.viewers.viewer import Indices
from models.data.scorers import haversine_km
from models.feed.reasons import FOR_YOU, Reason
from serving.access import require_user
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.inputs import parse, read_object
from serving.routes.reads.answers import listed
from serving.routes.reads.shapes import NearbyBody, NearbyItems
from serving.routes.reads.view import View, Views

FIRST = 64
"""Items looked at to begin with; four times as many when rules leave too few, …"""
MOST = 8_192
"""… and past this the whole catalogue, in one pass that is quicker than the index by then."""
EXAMPLE = {
    "items": [
        {
            "item_id": "listing-7",
            "rank": 1,
            "distance_km": 1.204,
            "reason": "Near you: Cluj",
            "reason_code": "near_city",
            "reason_parameters": {"city": "Cluj"},
        }
    ]
}
endpoints = Endpoints(tag="feed", scope="read", user="body")


class Found(NamedTuple):
    """Items and their distances in km, nearest first, within the rules."""

    rows: Indices
    km: NDArray[np.float64]


class NearbyCalls:
    def __init__(self, views: Views) -> None:
        self._views = views

    @endpoints.declare(
        "POST /api/v1/feed/nearby",
        Answer("Items within the viewer's rules", NearbyItems, EXAMPLE),
        compressed=True,
        body=Body(NearbyBody, {"lat": 46.77, "lon": 23.59, "radius_km": 25}),
    )
    async def nearby(self, request: Request) -> Response:
        """The nearest items around a point.

        Rules about distance count from this point. Needs no model.
        """
        asked = parse(NearbyBody, await read_object(request))
        user_id = require_user(request, asked.user_id)
        view = self._views.of(user_id, lat=asked.lat, lon=asked.lon)
        if view is None:
            return answer_json(request, {"items": []})
        radius_km = asked.radius_km or view.profile.scorers.max_distance_km
        near = by_index(view, asked, radius_km)
        if near is None:
            near = await asyncio.to_thread(of_all, view, asked, radius_km)
            keep = view.allowed(near.rows)  # it may have changed meanwhile
            near = Found(near.rows[keep], near.km[keep])
        rows, km = near.rows[: asked.limit], near.km[: asked.limit]
        items = listed(view.live, rows, reasons(view, rows, km), distance_km=km.round(3).tolist())
        return answer_json(request, {"items": items})


def by_index(view: View, asked: NearbyBody, radius_km: float) -> Found | None:
    """What the index finds; None: rules exclude so many that it is of no use."""
    places = view.catalogue.indexes.places
    limit = view.viewer.preferences.max_distance_km
    bound = min(radius_km, limit) if limit == limit else radius_km
    count = max(FIRST, 2 * asked.limit)
    while count <= MOST:
        rows, km = places.nearest(asked.lat, asked.lon, count, bound)
        # The index does not know yet where the latest are. It lists by distance, so nothing
        # is missed up to the last that it found.
        reach = float(km[-1]) if len(rows) == count else np.inf
        near = _within(view, asked, radius_km, np.union1d(rows, view.live.latest_items()))
        if reach == np.inf or np.count_nonzero(near.km <= reach) >= asked.limit:
            return near
        count *= 4
    return None


def of_all(view: View, asked: NearbyBody, radius_km: float) -> Found:
    """The same from a look at every item. O(items)."""
    return _within(view, asked, radius_km, np.arange(view.live.size, dtype=np.int32))


def _within(view: View, asked: NearbyBody, radius_km: float, rows: Indices) -> Found:
    items = view.live.items
    keep = view.allowed(rows)
    if asked.category is not None:
        category = view.live.categories.find(asked.category)
        keep &= (items.category[rows] == category) & (category >= 0)
    rows = rows[keep].astype(np.int32, copy=False)
    lat, lon = items.lat[rows].astype(np.float64), items.lon[rows].astype(np.float64)
    km = np.asarray(haversine_km(asked.lat, asked.lon, lat, lon), np.float64)
    near = np.flatnonzero(km <= radius_km)  # not where it is NaN: no place
    order = near[np.argsort(km[near], kind="stable")]
    return Found(rows[order], km[order])


def reasons(view: View, rows: Indices, km: NDArray[np.float64]) -> list[Reason]:
    """Near, where the profile calls it that; nothing can be said of what is merely nearest."""
    live = view.live
    near = (km <= view.profile.scorers.max_distance_km).tolist()
    return [
        FOR_YOU
        if not is_near
        else Reason("near_city", {"city": live.cities[city]})
        if city >= 0
        else Reason("near", {})
        for is_near, city in zip(near, live.items.city[rows].tolist(), strict=True)
    ]
