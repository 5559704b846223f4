"""``/feed/similar/{item_id}``: items like this one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from models.catalogue.viewers.viewer import Indices
from models.data import scorers
from models.feed.candidates.sources import similar_items
from models.feed.reasons import Reason
from serving.http.answers import answer_json, not_found
from serving.http.describe import path_id
from serving.http.endpoints import Answer, Endpoints
from serving.http.inputs import id_in, parse_query
from serving.routes.reads.answers import Body, listed
from serving.routes.reads.shapes import SimilarItems, SimilarQuery
from serving.routes.reads.view import View, Views

POPULAR = 1_000
"""Popular items that are compared too, for items whose tags say little."""
EXAMPLE: Body = {
    "items": [
        {
            "item_id": "listing-9",
            "rank": 1,
            "similarity": 0.41,
            "by": "people",
            "reason": "Similar to Wedding photographer",
            "reason_code": "similar_to",
            "reason_parameters": {"title": "Wedding photographer", "item_id": "listing-7"},
        }
    ]
}
endpoints = Endpoints(tag="feed", scope="read", user="query")


class SimilarCalls:
    def __init__(self, views: Views) -> None:
        self._views = views

    @endpoints.declare(
        "GET /api/v1/feed/similar/{item_id:id}",
        Answer("Items within the viewer's rules", SimilarItems, EXAMPLE),
        compressed=True,
        parameters=[path_id("item_id", "The item to start from.")],
        query=SimilarQuery,
        problems=(404,),
    )
    async def similar(self, request: Request) -> Response:
        """Items like this one.

        First those that the same people liked, then those with alike content, so a new item has
        some too.
        """
        item_id = id_in(request, "item_id")
        asked = parse_query(SimilarQuery, request.query_params)
        view = self._views.of(asked.user_id)
        row = view.live.find_item(item_id) if view is not None else None
        # A draft does not even tell its title.
        if view is None or row is None or not view.live.items.published[row]:
            raise not_found("item", item_id)
        by_people, cosine = liked_by_the_same(view, row, asked.limit)
        by_content, likeness = similar_content(view, row, by_people, asked.limit - len(by_people))
        rows = np.concatenate([by_people, by_content])
        similarity = np.concatenate([cosine, likeness]).astype(np.float64)
        reason = Reason("similar_to", {"title": view.live.title(row), "item_id": item_id})
        items = listed(
            view.live,
            rows,
            [reason] * len(rows),
            similarity=similarity.clip(0, 1).round(4).tolist(),
            by=["people"] * len(by_people) + ["content"] * len(by_content),
        )
        return answer_json(request, {"items": items})


def liked_by_the_same(view: View, row: int, count: int) -> tuple[Indices, NDArray[np.floating]]:
    """Items that the same users liked, and their cosines, highest first."""
    items = view.live.items
    item = np.array([row], np.int32)
    rows, cosines = similar_items(view.live, item, items.neighbours.shape[1])
    keep = view.allowed(rows) & (rows != row) & (cosines > 0)
    return rows[keep][:count], cosines[keep][:count]


def similar_content(
    view: View, row: int, others: Indices, count: int
) -> tuple[Indices, NDArray[np.floating]]:
    """Items that share tags, category, city and price with it, most similar first, but for
    ``others``, and the cosines. Looked for among the most popular of its tags, the most
    popular of all, and the latest."""
    live = view.live
    items, lists = live.items, live.snapshot.tag_items
    item = np.array([row], np.int32)
    tags = items.tags[row]
    with_list = tags[(tags >= 0) & (tags < lists.rows)]
    pools = lists.gather(with_list).indices, view.catalogue.shortlists.popular[:POPULAR]
    pool = np.unique(np.concatenate([*pools, live.latest_items()])).astype(np.int32)
    pool = pool[view.allowed(pool) & (pool != row) & ~np.isin(pool, others)]
    taste = scorers.taste_of(
        np.ones(1, np.float32),
        items.tags[item],
        items.category[item],
        items.city[item],
        items.price_band[item],
        n_tags=len(live.tags),
        n_categories=len(live.categories),
        n_cities=len(live.cities),
    )
    cosines = scorers.content(
        taste, items.tags[pool], items.category[pool], items.city[pool], items.price_band[pool]
    )
    some = np.flatnonzero(cosines > 0)  # NaN, nothing known of the item, is not
    best = some[np.argsort(-cosines[some], kind="stable")][:count]
    return pool[best], cosines[best]
