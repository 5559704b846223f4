"""From a list to the JSON of a page."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import orjson
from cachetools import LRUCache
from numpy.typing import NDArray

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import NOTHING, Indices, Viewer
from models.data.scorers import Scores
from models.feed.candidates.rules import Mask
from models.feed.candidates.sources import RANKED, SEEN, names_of
from models.feed.ordering.exploration import logged
from models.feed.reasons import FOR_YOU, Reason, reasons
from models.feed.scoring.scores import (
    MODEL,
    PROBABILITY,
    RANKER,
    TABLE,
    By,
    explained,
    table_shares,
)
from models.profile.schema import Profile
from serving.feed.feed_list import FeedList
from serving.feed.plans import Plan
from serving.feed.shapes import FeedRequest
from serving.feed.translations import Translations
from serving.feed.visit import Visit
from serving.telemetry import traces
from serving.telemetry.metrics import stage_timer
from serving.versions.fallback import FallbackReason, Variant

log = logging.getLogger("feedwright.serving")
REMEMBERED = 2_000


def render(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    scores: Scores,
    ranks: NDArray[np.integer],
    *,
    now: float,
    sources: NDArray[np.integer] | None = None,
    propensities: NDArray[np.floating] | None = None,
    explored: NDArray[np.bool_] | None = None,
    by_model: bool = False,
    chances: Mapping[str, Scores] | None = None,
) -> list[dict[str, Any]]:
    """Objects of the shape ``FeedItem``, one a row.

    Args:
        ranks: of each, from 1.
        now: epoch seconds.
        by_model: the recommender ranked them.
        chances: of actions, by name.
    """
    if len(rows) == 0:
        return []
    components: dict[str, Scores]
    why: list[Reason]
    try:
        by: By = "model" if by_model else "heuristic"
        components = explained(live, viewer, profile, rows, now=now, by=by)
        why = reasons(live, viewer, profile, rows, components, explored)
        if MODEL in components and live.snapshot.tables:
            for name, shares in table_shares(live, viewer, rows).items():
                components[TABLE + name] = shares
        if sources is not None and (by_ranker := (sources & RANKED) > 0).any():
            components[RANKER] = np.where(by_ranker, scores, np.nan)
            for name, of_items in (chances or {}).items():
                components[PROBABILITY + name] = of_items
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
            "rank": rank,
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
        for row, rank, numbers, propensity, reason, bits, new in zip(
            rows.tolist(),
            ranks.tolist(),
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

    def is_valid(self, live: LiveCatalogue, profile: Profile, now: float) -> bool:
        """Whether nothing that it says has changed since."""
        return (
            self.profile is profile
            and self.catalogue is live
            and self.version == live.version
            and now < self.valid_until
        )

    def with_request_id(self, request_id: str) -> bytes:
        return b'%b,"request_id":%b}' % (self.body[:-1], orjson.dumps(request_id))


class Pages:
    """Renders pages, and keeps those that a worker rendered last. Used from one event loop."""

    def __init__(self, translations: Translations) -> None:
        self._translations = translations
        self._rendered: LRUCache[tuple[Any, ...], RenderedPage] = LRUCache(REMEMBERED)

    def keep(self, lives: Set[LiveCatalogue]) -> None:
        """Let go of pages, and so of catalogues, that are of others than these."""
        for key in [key for key, page in self._rendered.items() if page.catalogue not in lives]:
            del self._rendered[key]

    def page(self, visit: Visit, kept: FeedList, *, checked: bool) -> RenderedPage:
        """The part of the list that was asked for, without what may not be shown by now.

        Args:
            kept: readable in the visit's catalogue.
            checked: it was ranked for this visit, by the rules as they are.
        """
        request, live, profile = visit.request, visit.catalogue.live, visit.profile
        key = kept.feed_id, visit.key, request.offset, request.limit, visit.history
        rendered = self._rendered.get(key)
        if rendered is not None and rendered.is_valid(live, profile, visit.now):
            return rendered
        start = time.perf_counter()
        version = live.version
        rows = self._translations.read(visit.catalogue, kept, slice(None))
        shown = rows >= 0
        if not checked:
            shown &= _still_shown(visit, rows, kept.sources & SEEN > 0)
        rows, body = _content(visit, kept, rows, shown)
        until = valid_until(live, rows, visit.now)
        page = RenderedPage(orjson.dumps(body), live, version, profile, until)
        self._rendered[key] = page
        seconds = time.perf_counter() - start
        stage_timer("page").observe(seconds)
        traces.stages({"page": seconds})
        return page


def _content(
    visit: Visit, kept: FeedList, rows: Indices, shown: Mask
) -> tuple[Indices, dict[str, Any]]:
    """Rows of the page, and its content.

    Args:
        rows: of the whole list.
        shown: which of them may be shown.
    """
    request, viewer, meta = visit.request, visit.viewer, kept.meta
    if not viewer.preferences.personalized or meta.get("impersonal"):
        viewer = viewer.impersonal()
    part = slice(request.offset, request.offset + request.limit)
    more = bool(shown[part.stop :].any())
    positions = np.flatnonzero(shown[part])
    rows = rows[part][positions]
    items = render(
        visit.catalogue.live,
        viewer,
        visit.profile,
        rows,
        kept.scores[part][positions],
        request.offset + positions + 1,
        now=visit.now,
        sources=kept.sources[part][positions],
        propensities=kept.propensities[part][positions],
        explored=kept.explored[part][positions],
        by_model=meta["by_model"],
        chances=dict(zip(meta.get("actions", ()), kept.chances[part][positions].T, strict=True)),
    )
    return rows, {
        "items": items,
        "total": int(shown.sum()),
        "has_more": more,
        "next": _next_page(request, kept.feed_id) if more else None,
        "feed_id": kept.feed_id,
        "model_version": meta["model_version"],
        "variant": meta["variant"],
        "fallback_reason": meta["fallback_reason"],
        "experiments": meta.get("experiments", {}),
    }


def empty_page(variant: Variant, reason: FallbackReason, plan: Plan, request_id: str) -> bytes:
    """A page without items, as JSON."""
    return orjson.dumps(
        {
            "items": [],
            "total": 0,
            "has_more": False,
            "next": None,
            "feed_id": None,
            "model_version": None,
            "variant": variant,
            "fallback_reason": reason,
            "experiments": plan.experiments,
            "request_id": request_id,
        }
    )


def _still_shown(visit: Visit, rows: Indices, seen_before: Mask) -> Mask:
    """Which of a list's rows may be shown by now, or could have been on a page before this one:
    what the user did with those since does not count.

    Args:
        seen_before: rows that the user had seen already when the list was made.
    """
    offset, viewer = visit.request.offset, visit.viewer
    stranger = replace(viewer, seen=NOTHING, applied=NOTHING, dismissed=NOTHING)
    after, seen_before = rows[offset:], seen_before[offset:]
    shown = visit.allowed(after)
    if seen_before.any():
        shown |= seen_before & visit.allowed(after, replace(viewer, seen=NOTHING))
    return np.concatenate([visit.allowed(rows[:offset], stranger), shown])


def _next_page(request: FeedRequest, feed_id: str) -> str:
    given: dict[str, Any] = request.model_dump(exclude_none=True, exclude_defaults=True)
    if request.weights is not None:
        pairs = (f"{name}:{weight:g}" for name, weight in request.weights.items())
        given["weights"] = ",".join(pairs)
    for name, value in given.items():
        if isinstance(value, bool):
            given[name] = str(value).lower()
    given |= {
        "limit": request.limit,
        "offset": request.offset + request.limit,
        "feed_id": feed_id,
    }
    return f"/api/v1/feed?{urlencode(given)}"


def valid_until(live: LiveCatalogue, rows: Indices, now: float) -> float:
    """When the first of these starts or is published; nothing else comes by itself."""
    times = np.concatenate([live.items.starts_at[rows], live.items.publish_at[rows]])
    return float(times[times > now].min(initial=np.inf))
