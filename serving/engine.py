"""The feed engine: one request in, one page out, whatever happens.

A viewer's feed is ranked once, as a list; its pages are read from that list, by whichever
worker, so that scrolling neither repeats nor skips an item. The rules are looked at again for
every page: what may no longer be shown is left out of it, and the places of others stay.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from time import monotonic
from typing import Any, Literal
from urllib.parse import urlencode

import numpy as np
import orjson

from models.candidates import SourceGuard
from models.laps import Laps
from models.live_catalogue import LiveCatalogue
from models.profile import SCORERS, Profile, load_profile
from models.ranker import By, Ranking, rank
from models.rules import allowed
from models.viewer import History, Indices, Viewer
from serving.feed_lists import FeedList, FeedLists, new_feed_id
from serving.live_state import Catalogue, LiveState
from serving.metrics import DROPPED_SOURCES, feed_counter, stage_timer
from serving.pages import RenderedPage, RenderedPages, render, valid_until
from serving.shapes import FallbackReason, FeedRequest, Variant
from serving.time_budget import BudgetSpent, TimeBudget
from serving.translations import Translations
from serving.user_states import UserStates

log = logging.getLogger("feedwright.serving")
LOG_EVERY_SECONDS = 10.0
ADDED_MARGIN_SECONDS = 2.0
"""Another worker may learn of a new item so much later."""


class FeedEngine:
    """Answers feed requests from the live state.

    The champion ranks for known users. Otherwise the heuristic does and ``fallback_reason``
    says why; when that fails too, or the time budget is spent, what is popular, within the
    rules; with no catalogue at all, an empty page.
    """

    def __init__(
        self,
        live: Callable[[], LiveState],
        database_up: Callable[[], bool],
        lists: FeedLists,
        translations: Translations,
        *,
        users: UserStates | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            users: what users did since the snapshot; None: feeds go by the snapshot alone.
        """
        self._users = users
        self._live = live
        self._database_up = database_up
        self._lists = lists
        self._translations = translations
        self._clock = clock
        seconds = live().profile.serving.time_budget_ms / 1000
        # Apart, so that a slow model does not make the heuristic careful too.
        self._model_budget, self._heuristic_budget = TimeBudget(seconds), TimeBudget(seconds)
        self._guard = SourceGuard(lambda name, why: DROPPED_SOURCES.labels(name, why).inc())
        self._pages = RenderedPages()
        self._rng = np.random.default_rng()
        self._seen: Catalogue | None = None
        self._last_logged = -LOG_EVERY_SECONDS

    async def feed(self, request: FeedRequest, request_id: str, *, keep: bool = True) -> bytes:
        """The page as JSON, of the shape ``FeedPage``. Never raises for want of a model or a
        database.

        Args:
            keep: the list, for further pages; nobody scrolls a mail.
        """
        now = self._clock()
        state = self._live()
        catalogue = state.catalogue
        if catalogue is None:
            variant: Variant = "time" if request.sort == "time" else "heuristic"
            feed_counter(variant, "no_catalogue").inc()
            return _empty_page(variant, request_id)
        if self._seen is None or catalogue.live is not self._seen.live:
            self._model_budget.be_careful()
            self._heuristic_budget.be_careful()
            self._pages.clear()  # they would hold on to the catalogue that was
        self._seen = catalogue
        profile = _previewed(state.profile, request)
        key = list_key(request)
        live = catalogue.live
        history = await self._users.get(request.user_id, live) if self._users else None
        viewer = live.viewer(request.user_id, lat=request.lat, lon=request.lon, history=history)
        mark = history.mark if history else None
        fallback = self._fallback(state, request, viewer, now)
        checked = False
        kept = await self._kept(state, catalogue, request, key, fallback, mark, now)
        if kept is None:
            version = live.version
            kept = await self._ranked(catalogue, profile, request, viewer, fallback, state, now)
            kept.meta["history"] = mark
            if keep:
                self._lists.put(key, kept)
            checked = live.version == version
        feed_counter(kept.meta["variant"], kept.meta["fallback_reason"]).inc()
        page = self._page(
            catalogue, profile, request, viewer, kept, key, mark, now, checked=checked
        )
        return page.with_request_id(request_id)

    def history(self, user_id: str | None, live: LiveCatalogue) -> History | None:
        """What is at hand of what a user did since the snapshot."""
        return self._users.known(user_id, live) if self._users else None

    def close(self) -> None:
        self._model_budget.close()
        self._heuristic_budget.close()
        self._lists.close()

    def _fallback(
        self, state: LiveState, request: FeedRequest, viewer: Viewer, now: float
    ) -> FallbackReason | None:
        """Why the champion does not rank this feed; None: it does, or another way was asked."""
        if _asked_way(request) is not None:
            return None
        return state.fallback_for(viewer, now, self._database_up())

    async def _kept(
        self,
        state: LiveState,
        catalogue: Catalogue,
        request: FeedRequest,
        key: bytes,
        fallback: FallbackReason | None,
        mark: str | None,
        now: float,
    ) -> FeedList | None:
        """The list that this request continues, or one that is as good as a new one.

        Args:
            mark: of what the user did by now. A list that was made of something else is old.
        """
        serving = state.profile.serving
        if request.feed_id is not None:
            kept = self._lists.get(request.feed_id)
            if kept is not None and kept.meta["user_id"] != request.user_id:
                kept = None  # another's
        else:
            kept = self._lists.latest(key)
        if kept is None or now - kept.made_at > serving.list_minutes * 60:
            return None
        if fallback == "personalization_off" and kept.meta["variant"] == "champion":
            return None  # made before the user said so
        if request.feed_id is None and request.offset == 0:
            live = catalogue.live
            new_since = live.changed_at(request.user_id) + ADDED_MARGIN_SECONDS
            usable = (
                now - kept.made_at < serving.reuse_seconds
                and kept.catalogue == catalogue.name
                and kept.meta["fallback_reason"] == fallback
                and kept.meta.get("history") == mark
                and kept.made_at > max(new_since, state.profile_since)
            )
            return kept if usable else None
        if kept.catalogue == catalogue.name or await self._translations.known(
            kept.catalogue, catalogue
        ):
            return kept
        return None

    async def _ranked(
        self,
        catalogue: Catalogue,
        profile: Profile,
        request: FeedRequest,
        viewer: Viewer,
        fallback: FallbackReason | None,
        state: LiveState,
        now: float,
    ) -> FeedList:
        """A new list: by the champion if nothing speaks against it, else by the heuristic, else
        what is popular."""
        asked = _asked_way(request)
        version = state.model_version
        if asked is None and fallback is None:
            # The gate may have found that no model beats the heuristic: then it is the champion.
            won = catalogue.snapshot.manifest.recommender == "heuristic"
            ranking = await self._attempt(
                catalogue, profile, request, viewer, "heuristic" if won else "model", now
            )
            if isinstance(ranking, Ranking):
                return self._list(catalogue, request, ranking, "champion", None, version, now)
            fallback = ranking
        if fallback != "time_budget_exceeded":
            by: Literal["time", "heuristic"] = "time" if asked == "time" else "heuristic"
            who = viewer if viewer.wishes.personalized else viewer.impersonal()
            ranking = await self._attempt(catalogue, profile, request, who, by, now)
            if isinstance(ranking, Ranking):
                return self._list(catalogue, request, ranking, by, fallback, None, now)
            fallback = fallback or ranking
        rows = catalogue.shortlists.popular[: profile.serving.list_length]
        rows = rows[self._may(catalogue, profile, request, viewer, rows, now)]
        nothing = np.zeros(len(rows), np.float32)
        popular = Ranking(
            rows,
            catalogue.live.items.engagement[rows],
            np.zeros(len(rows), np.uint16),
            nothing + 1,
            nothing > 0,
        )
        return self._list(catalogue, request, popular, "heuristic", fallback, None, now)

    async def _attempt(
        self,
        catalogue: Catalogue,
        profile: Profile,
        request: FeedRequest,
        viewer: Viewer,
        by: By,
        now: float,
    ) -> Ranking | FallbackReason:
        """The ranking, or why there is none."""

        def work() -> Ranking:
            laps = Laps()
            ranking = rank(
                catalogue.live,
                viewer,
                profile,
                catalogue.shortlists,
                catalogue.indexes,
                self._guard,
                now=now,
                by=by,
                exclude_seen=request.exclude_seen,
                exclude_applied=request.exclude_applied,
                rng=self._rng,
                laps=laps,
            )
            for stage, seconds in laps.seconds.items():
                stage_timer(stage).observe(seconds)
            return ranking

        budget = self._model_budget if by == "model" else self._heuristic_budget
        try:
            return await budget.run(work)
        except BudgetSpent:
            return "time_budget_exceeded"
        except Exception as error:  # anything: the feed always answers
            self._log_failure(by, error)
            return "model_error"

    def _list(
        self,
        catalogue: Catalogue,
        request: FeedRequest,
        ranking: Ranking,
        variant: Variant,
        fallback: FallbackReason | None,
        version: str | None,
        now: float,
    ) -> FeedList:
        rows, extra_ids = self._translations.written(catalogue, ranking.rows)
        return FeedList(
            feed_id=new_feed_id(now),
            made_at=now,
            catalogue=catalogue.name,
            rows=rows,
            scores=ranking.scores,
            sources=ranking.sources,
            propensities=ranking.propensities,
            explored=ranking.explored,
            extra_ids=extra_ids,
            meta={
                "user_id": request.user_id,
                "variant": variant,
                "fallback_reason": fallback,
                "model_version": version,
                "by_model": variant == "champion"
                and catalogue.snapshot.manifest.recommender != "heuristic",
            },
        )

    def _page(
        self,
        catalogue: Catalogue,
        profile: Profile,
        request: FeedRequest,
        viewer: Viewer,
        kept: FeedList,
        list_key: bytes,
        mark: str | None,
        now: float,
        *,
        checked: bool,
    ) -> RenderedPage:
        """The part of the list that was asked for, without what may not be shown by now.

        Args:
            mark: of what the user did by now.
            checked: the list was made at ``now``, by the rules as they are.
        """
        live = catalogue.live
        key = kept.feed_id, list_key, request.offset, request.limit, mark
        known = self._pages.get(key, live, profile, now)
        if known is not None:
            return known
        start = time.perf_counter()
        version = live.version
        part = slice(request.offset, request.offset + request.limit)
        rows = self._translations.read(catalogue, kept, part)
        places = np.flatnonzero(rows >= 0)
        if not checked:
            places = places[self._may(catalogue, profile, request, viewer, rows[places], now)]
        rows = rows[places]
        if not viewer.wishes.personalized:
            viewer = viewer.impersonal()
        more = part.stop < len(kept.rows)
        body = {
            "items": render(
                live,
                viewer,
                profile,
                rows,
                kept.scores[part][places],
                request.offset + places + 1,
                now=now,
                sources=kept.sources[part][places],
                propensities=kept.propensities[part][places],
                explored=kept.explored[part][places],
                by_model=kept.meta["by_model"],
            ),
            "total": len(kept.rows),
            "has_more": more,
            "next": _next_page(request, kept.feed_id) if more else None,
            "feed_id": kept.feed_id,
            "model_version": kept.meta["model_version"],
            "variant": kept.meta["variant"],
            "fallback_reason": kept.meta["fallback_reason"],
        }
        until = valid_until(live, rows, now)
        page = RenderedPage(orjson.dumps(body), live, version, profile, until)
        self._pages.put(key, page)
        stage_timer("page").observe(time.perf_counter() - start)
        return page

    def _may(
        self,
        catalogue: Catalogue,
        profile: Profile,
        request: FeedRequest,
        viewer: Viewer,
        rows: Indices,
        now: float,
    ) -> np.ndarray:
        return allowed(
            catalogue.live,
            viewer,
            profile,
            rows,
            now=now,
            exclude_seen=request.exclude_seen,
            exclude_applied=request.exclude_applied,
        )

    def _log_failure(self, what: str, error: Exception) -> None:
        """Once in a while: a model that fails, fails for everybody."""
        if monotonic() - self._last_logged >= LOG_EVERY_SECONDS:
            self._last_logged = monotonic()
            log.error("ranking failed", exc_info=error, extra={"ranked_by": what})


load_shipped = cache(load_profile)
"""Profiles that ship do not change while the program runs."""


def list_key(request: FeedRequest) -> bytes:
    """16 bytes that requests for pages of one feed have in common."""
    # A place is told anew with every step: some ten metres make no other feed.
    here = {
        name: round(value, 4)
        for name in ("lat", "lon")
        if (value := getattr(request, name)) is not None
    }
    same = request.model_copy(update=here).model_dump_json(exclude={"limit", "offset", "feed_id"})
    return blake2b(same.encode(), digest_size=16).digest()


def _asked_way(request: FeedRequest) -> Variant | None:
    """How the request wants to be ranked, if it does not leave that to us."""
    if request.sort == "time" or request.variant == "time":
        return "time"
    if request.weights is not None or request.profile is not None:
        return "heuristic"
    return request.variant if request.variant != "champion" else None


def _previewed(profile: Profile, request: FeedRequest) -> Profile:
    """The profile, with other scorers or weights where the request asks for them. Rules stay."""
    changed: dict[str, Any] = {}
    if request.profile is not None and request.profile != profile.name:
        other = load_shipped(request.profile)
        changed = {
            name: getattr(other, name) for name in ("scorer_weights", "scorers", "diversity")
        }
    if request.weights is not None:
        changed["scorer_weights"] = {name: request.weights.get(name, 0.0) for name in SCORERS}
    return profile.model_copy(update=changed) if changed else profile


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


def _empty_page(variant: Variant, request_id: str) -> bytes:
    return orjson.dumps(
        {
            "items": [],
            "total": 0,
            "has_more": False,
            "next": None,
            "feed_id": None,
            "model_version": None,
            "variant": variant,
            "fallback_reason": "no_catalogue",
            "request_id": request_id,
        }
    )
