"""From rows of a list to the JSON of a page."""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from cachetools import LRUCache
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewer import Indices, Viewer
from models.data.scorers import Scores
from models.feed.exploration import logged
from models.feed.reasons import FOR_YOU, Reason, reasons
from models.feed.scores import RANKER, By, explained
from models.feed.sources import RANKED, SEEN, names_of
from models.profile.schema import Profile

log = logging.getLogger("feedwright.serving")
REMEMBERED = 2_000


def render(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    scores: Scores,
    places: NDArray[np.integer],
    *,
    now: float,
    sources: NDArray[np.integer] | None = None,
    propensities: NDArray[np.floating] | None = None,
    explored: NDArray[np.bool_] | None = None,
    by_model: bool = False,
) -> list[dict[str, Any]]:
    """Objects of the shape ``FeedItem``, one a row.

    Args:
        places: rank of each, from 1.
        now: epoch seconds.
        by_model: the recommender ranked them.
    """
    if len(rows) == 0:
        return []
    components: dict[str, Scores]
    why: list[Reason]
    try:
        by: By = "model" if by_model else "heuristic"
        components = explained(live, viewer, profile, rows, now=now, by=by)
        why = reasons(live, viewer, profile, rows, components, explored)
        if sources is not None and (by_ranker := (sources & RANKED) > 0).any():
            components[RANKER] = np.where(by_ranker, scores, np.nan)
    except Exception:  # an item without its reasons is better than none
        log.exception("items not explained")
        components, why = {}, [FOR_YOU] * len(rows)
    # One rounding of the whole table: a call of numpy costs more than twenty numbers.
    # NaN (missing) becomes null in JSON.
    chance = np.ones(len(rows)) if propensities is None else propensities
    table = np.stack([scores, *components.values()]).astype(np.float64)
    names = list(components)
    return [
        {
            "item_id": live.item_id(row),
            "rank": place,
            "recommendation_score": numbers[0],
            "reason": reason.text,
            "reason_code": reason.code,
            "reason_parameters": reason.parameters,
            "components": dict(zip(names, numbers[1:], strict=True)),
            "sources": names_of(bits),
            "explored": new,
            "seen": bits & SEEN > 0,
            "propensity": logged(propensity),
        }
        for row, place, numbers, propensity, reason, bits, new in zip(
            rows.tolist(),
            places.tolist(),
            table.round(4).T.tolist(),
            chance.tolist(),
            why,
            [0] * len(rows) if sources is None else sources.tolist(),
            [False] * len(rows) if explored is None else explored.tolist(),
            strict=True,
        )
    ]


@dataclass(frozen=True)
class RenderedPage:
    """The JSON of a page, but for its request id.

    Attributes:
        catalogue, version, profile: what it was rendered from.
        valid_until: epoch seconds at which one of its items may no longer be shown.
    """

    body: bytes
    catalogue: LiveCatalogue
    version: int
    profile: Profile
    valid_until: float

    def with_request_id(self, request_id: str) -> bytes:
        return b'%b,"request_id":%b}' % (self.body[:-1], orjson.dumps(request_id))


class RenderedPages:
    """The pages that a worker rendered last."""

    def __init__(self) -> None:
        self._pages: LRUCache[tuple[Any, ...], RenderedPage] = LRUCache(REMEMBERED)

    def get(
        self, key: tuple[Any, ...], live: LiveCatalogue, profile: Profile, now: float
    ) -> RenderedPage | None:
        """The page, if nothing that it says has changed since."""
        page = self._pages.get(key)
        if page is None or page.profile is not profile:
            return None
        if page.catalogue is not live or page.version != live.version:
            return None
        if now >= page.valid_until:
            return None
        return page

    def keep(self, lives: Set[LiveCatalogue]) -> None:
        """Let go of pages, and so of catalogues, that are of others than these."""
        for key in [key for key, page in self._pages.items() if page.catalogue not in lives]:
            del self._pages[key]

    def put(self, key: tuple[Any, ...], page: RenderedPage) -> None:
        self._pages[key] = page


def valid_until(live: LiveCatalogue, rows: Indices, now: float) -> float:
    """When the first of these starts or is published; nothing else comes by itself."""
    times = np.concatenate([live.items.starts_at[rows], live.items.publish_at[rows]])
    return float(times[times > now].min(initial=np.inf))
