"""``/features``: what ranking sees of a user, of an item, and of the two together."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import Indices, Viewer
from models.catalogue.vocabulary import Vocabulary
from models.data import scorers
from models.feed.candidates.rules import broken
from models.feed.candidates.sources import SourceGuard, names_of
from models.feed.reasons import reasons
from models.feed.scoring.scores import explained, model_scores
from models.feed.scoring.taste import taste_of
from models.feed.scoring.time_order import appearance
from models.profile.feed_sections import SCORERS
from serving.http.answers import not_found
from serving.http.describe import path_id
from serving.http.endpoints import Answer, Endpoints
from serving.http.inputs import id_in, parse
from serving.routes.reads.answers import Body, answer_versioned, reason_body
from serving.routes.reads.shapes import ItemFeatures, PairFeatures, PairIds, UserFeatures
from serving.routes.reads.view import View, Views

SHOWN = 10
PATIENCE_MS = 1_000.0
"""Somebody wants to know which sources there are: none is left out for being slow."""
endpoints = Endpoints(tag="features", scope="read")


class FeatureCalls:
    def __init__(self, views: Views) -> None:
        self._views = views

    @endpoints.declare(
        "GET /api/v1/features/users/{id:id}",
        Answer("Features", UserFeatures, versioned=True),
        user="path",
        parameters=[path_id("id", "The user's id.")],
        problems=(404,),
    )
    async def user_features(self, request: Request) -> Response:
        """What ranking sees of a user."""
        return answer_versioned(request, user_features(self._view_of(id_in(request))))

    @endpoints.declare(
        "GET /api/v1/features/items/{id:id}",
        Answer("Features", ItemFeatures, versioned=True),
        parameters=[path_id("id", "The item's id.")],
        problems=(404,),
    )
    async def item_features(self, request: Request) -> Response:
        """What ranking sees of an item."""
        id = id_in(request)
        view = self._views.of(None)
        row = view.live.find_item(id) if view is not None else None
        if view is None or row is None:
            raise not_found("item", id)
        return answer_versioned(request, item_features(view, row))

    @endpoints.declare(
        "GET /api/v1/features/pairs/{user_id:first_id}/{item_id:id}",
        Answer("Features", PairFeatures, versioned=True),
        user="path",
        parameters=[
            path_id("user_id", "The user's id; a slash in it is `%2F`."),
            path_id("item_id", "The item's id."),
        ],
        problems=(404,),
    )
    async def pair_features(self, request: Request) -> Response:
        """What ranking makes of an item for a user.

        Of somebody who does not want to be known, ranking sees a place and rules only.
        """
        ids = parse(PairIds, request.path_params)
        view = self._view_of(ids.user_id)
        row = view.live.find_item(ids.item_id)
        if row is None:
            raise not_found("item", ids.item_id)
        return answer_versioned(request, pair_features(view, row))

    def _view_of(self, user_id: str) -> View:
        view = self._views.of(user_id)
        if view is None or not view.viewer.known:
            raise not_found("user", user_id)
        return view


def user_features(view: View) -> Body:
    live, viewer, users = view.live, view.viewer, view.live.users
    vector = None if viewer.row is None else users.vectors[viewer.row]
    return {
        "user_id": viewer.user_id,
        "in_model": viewer.row is not None,
        **_length_of(vector),
        "lat": _number(viewer.lat),
        "lon": _number(viewer.lon),
        "tags": _names(live.tags, viewer.tags),
        "owner_id": _name(live.owners, viewer.own),
        "counts": {
            "seen": len(viewer.seen),
            "liked": len(viewer.liked),
            "applied": len(viewer.applied),
        },
        "taste": _taste(live, viewer),
        "recent": [
            {
                "item_id": live.item_id(row),
                "title": live.title(row),
                "type": live.types[type] if type >= 0 else None,
            }
            for row, type in zip(viewer.recent.tolist(), viewer.recent_types.tolist(), strict=True)
        ],
        "similar_users": [
            {"user_id": users.ids[row], "similarity": _number(score)}
            for row, score in _neighbours(users.neighbours, users.neighbour_scores, viewer.row)
        ],
        "wishes": {
            "max_distance_km": _number(viewer.preferences.max_distance_km),
            "preferred_price_min": _number(viewer.preferences.price_min),
            "preferred_price_max": _number(viewer.preferences.price_max),
            "blocked_tags": _names(live.tags, viewer.preferences.blocked_tags),
            "blocked_owners": _names(live.owners, viewer.preferences.blocked_owners),
            "personalization_enabled": viewer.preferences.personalized,
        },
        "model_version": view.state.model_version,
    }


def item_features(view: View, row: int) -> Body:
    live = view.live
    items = live.items
    numbers = ("bias", "lat", "lon", "price_min", "price_max", "owner_quality", "engagement")
    counts = ("applied", "impressions", "clicks")
    times = ("created_at", "publish_at", "starts_at")
    item = np.array([row], np.int32)
    tags = items.tags[row]
    band, capacity = int(items.price_band[row]), int(items.capacity[row])
    return {
        "item_id": live.item_id(row),
        "title": live.title(row),
        "in_model": row < len(live.snapshot.items.ids),
        **_length_of(items.vectors[row]),
        "published": bool(items.published[row]),
        **{name: _number(getattr(items, name)[row]) for name in numbers},
        **{name: int(getattr(items, name)[row]) for name in counts},
        **{name: _time(getattr(items, name)[row]) for name in times},
        "appeared_at": _time(appearance(live, item)[0]),
        "city": _name(live.cities, int(items.city[row])),
        "category": _name(live.categories, int(items.category[row])),
        "tags": _names(live.tags, tags[tags >= 0]),
        "price_band": band if band >= 0 else None,
        "capacity": capacity if capacity >= 0 else None,
        "owner_id": _name(live.owners, int(items.owner[row])),
        "trending": _number(items.trending[row]),
        "similar_items": [
            {"item_id": live.item_id(other), "similarity": _number(score)}
            for other, score in _neighbours(items.neighbours, items.neighbour_scores, row)
        ],
        "changed": row in live.changed_items,
        "model_version": view.state.model_version,
    }


def pair_features(view: View, row: int) -> Body:
    live, profile, now = view.live, view.profile, view.now
    item = np.array([row], np.int32)
    unweighed: dict[Any, float] = dict.fromkeys(SCORERS, 0.0)
    every = profile.model_copy(update={"scorer_weights": unweighed | profile.scorer_weights})
    components = explained(live, view.taste, every, item, now=now)
    [reason] = reasons(live, view.taste, every, item, components)
    unit = components.pop("model", None)
    hybrid = scorers.hybrid(components, profile.scorer_weights, 1)
    wished = broken(
        live, view.viewer, profile, item, now=now, exclude_seen=True, exclude_applied=True
    )
    always = [name for name, mask in broken(live, view.viewer, profile, item, now=now) if mask[0]]
    asked = {name for name, mask in wished if mask[0]}
    return {
        "user_id": view.viewer.user_id,
        "item_id": live.item_id(row),
        "components": {name: _number(score[0], 4) for name, score in components.items()},
        "weights": profile.scorer_weights,
        "hybrid": _number(hybrid[0], 4),
        "model": None
        if unit is None
        else {
            "raw": _number(model_scores(live, view.taste, item)[0]),
            "unit": _number(unit[0], 4),
        },
        **reason_body(reason),
        "rules_broken": list(dict.fromkeys(always)),
        "seen": "seen" in asked,
        "applied": "applied" in asked,
        "sources": _sources(view, row),
        "model_version": view.state.model_version,
    }


def _sources(view: View, row: int) -> list[str]:
    patient = view.profile.candidates.model_copy(update={"time_budget_ms": PATIENCE_MS})
    profile = view.profile.model_copy(update={"candidates": patient})
    candidates = view.catalogue.pipeline(profile, SourceGuard()).candidates(view.taste)
    return names_of(int(candidates.sources[candidates.rows == row].sum()))


def _taste(live: LiveCatalogue, viewer: Viewer) -> Body:
    if len(viewer.liked) == 0:
        return {"tags": [], "categories": []}
    taste = taste_of(live, viewer)
    return {
        "tags": _most(live.tags, taste.tags),
        "categories": _most(live.categories, taste.categories),
    }


def _most(names: Vocabulary, weights: NDArray[np.floating]) -> list[Body]:
    best = np.argsort(-weights, kind="stable")[:SHOWN]
    best = best[weights[best] > 0]
    return [{"name": names[index], "weight": _number(weights[index])} for index in best.tolist()]


def _neighbours(
    neighbours: Indices, similarities: NDArray[np.floating], row: int | None
) -> list[tuple[int, float]]:
    if row is None:
        return []
    there = np.flatnonzero(neighbours[row] >= 0)[:SHOWN]
    return list(
        zip(neighbours[row][there].tolist(), similarities[row][there].tolist(), strict=True)
    )


def _length_of(vector: NDArray[np.floating] | None) -> Body:
    if vector is None or len(vector) == 0:
        return {"has_vector": False, "vector_norm": None}
    return {"has_vector": True, "vector_norm": _number(np.linalg.norm(vector))}


def _number(value: Any, digits: int = 6) -> float | None:
    """For JSON; None: missing. Few digits for what fades with time, so that an ETag lasts."""
    return None if math.isnan(value) else round(float(value), digits)


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if math.isfinite(seconds) else None


def _name(names: Vocabulary, index: int) -> str | None:
    return names[index] if index >= 0 else None


def _names(names: Vocabulary, indices: Indices) -> list[str]:
    return [names[index] for index in indices.tolist()]
