"""The feed engine: one request in, one page out, whatever happens.

A viewer's feed is ranked once, as a list; its pages are read from that list, by whichever
worker, so that scrolling neither repeats nor skips an item. The rules are looked at again for
every page: what may no longer be shown is left out of it, and the places of others stay.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from time import monotonic
from typing import Any, Literal
from urllib.parse import urlencode

import numpy as np
import orjson

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewer import NOTHING, History, Indices, Viewer
from models.feed.context import Context
from models.feed.pipeline import Query, Ranking
from models.feed.rules import allowed
from models.feed.scores import By
from models.feed.sources import SEEN, SourceGuard
from models.feed.stage_timer import StageTimer
from models.profile.schema import Profile
from serving.feed.lists import FeedList, FeedLists, new_feed_id
from serving.feed.pages import RenderedPage, RenderedPages, render, valid_until
from serving.feed.plans import Plan, Plans
from serving.feed.shapes import FeedRequest
from serving.feed.time_budget import BudgetSpent, TimeBudget
from serving.feed.translations import Translations
from serving.state.erased_users import ErasedUsers
from serving.state.user_states import UserStates
from serving.telemetry import traces
from serving.telemetry.metrics import DROPPED_SOURCES, TALLY, feed_counter, stage_timer
from serving.versions.fallback import FallbackReason, Variant
from serving.versions.live_state import Catalogue, LiveState

log = logging.getLogger("feedwright.serving")
ServedCounter = Callable[[str, str | None, str | None, float], None]
LOG_EVERY_SECONDS = 10.0
LAST_REQUESTS_SECONDS = 10.0
"""By then requests that began before a swap are over."""
CLOCK_SECONDS = 1.0
"""A list may seem to be made so much later than now."""
ADDED_MARGIN_SECONDS = 2.0
"""Another worker may learn of a new item so much later."""
MODELS: tuple[Variant, ...] = ("champion", "challenger")
STAND_INS: tuple[FallbackReason | None, ...] = (None, "challenger_unavailable")
"""With these a model ranks nonetheless."""


@dataclass(frozen=True)
class _Way:
    """What of what is live a plan comes to."""

    variant: Variant
    catalogue: Catalogue
    version: str | None


class FeedEngine:
    """Answers feed requests from the live state.

    The champion ranks for known users, or what the request's plan says. Otherwise the heuristic
    does and ``fallback_reason`` says why; when that fails too, or the time budget is spent, what
    is popular, within the rules; with no catalogue, or a damaged one, an empty page.
    """

    def __init__(
        self,
        live: Callable[[], LiveState],
        database_up: Callable[[], bool],
        lists: FeedLists,
        translations: Translations,
        plans: Plans,
        *,
        ask_challenger: Callable[[], None] = lambda: None,
        users: UserStates | None = None,
        erased: ErasedUsers | None = None,
        clock: Callable[[], float] = time.time,
        served: ServedCounter = lambda *_: None,
    ) -> None:
        """
        Args:
            ask_challenger: called when a request asks for it.
            users: what users did since the snapshot; None: feeds go by the snapshot alone.
            erased: whose kept lists are no longer theirs.
            served: told of every page, see ``serving.telemetry.served.Served.count``.
        """
        self._served = served
        self._users = users
        self._erased = erased or ErasedUsers()
        self._live = live
        self._database_up = database_up
        self._lists = lists
        self._translations = translations
        self._plans = plans
        self._ask_challenger = ask_challenger
        self._clock = clock
        seconds = live().profile.serving.time_budget_ms / 1000
        # Apart, so that a slow or broken one does not make the others careful too.
        self._budgets = {name: TimeBudget(seconds) for name in (*MODELS, "heuristic")}
        self._guards = {
            name: SourceGuard(lambda name, why: DROPPED_SOURCES.labels(name, why).inc())
            for name in MODELS
        }
        self._pages = RenderedPages()
        self._rng = np.random.default_rng()
        self._seen: LiveState | None = None
        self._lives: set[LiveCatalogue] = set()
        self._last_logged = -LOG_EVERY_SECONDS

    async def feed(self, request: FeedRequest, request_id: str, *, keep: bool = True) -> bytes:
        """The page as JSON, of the shape ``FeedPage``. Never raises: what fails is logged and
        counted, and the page says why it is empty.

        Args:
            keep: the list, for further pages; nobody scrolls a mail.
        """
        start = time.perf_counter()
        now = self._clock()
        state = self._live()
        plan = self._plans.of(request, state.profile)
        if state.catalogue is None:
            return self._nothing("no_catalogue", plan, request_id, start)
        try:
            page = await self._answer(state, state.catalogue, plan, request, keep, now, start)
        except Exception as error:  # anything, as a file that was damaged while it is mapped
            self._log_failure("page", error)
            return self._nothing("catalogue_damaged", plan, request_id, start)
        return page.with_request_id(request_id)

    async def _answer(
        self,
        state: LiveState,
        champion: Catalogue,
        plan: Plan,
        request: FeedRequest,
        keep: bool,
        now: float,
        start: float,
    ) -> RenderedPage:
        """The page from a list that is kept, or from a new one."""
        self._notice(state)
        key = list_key(request)
        way = self._way(state, champion, plan, now)
        erased = self._erased.at(request.user_id)
        viewer, mark = await self._viewer(request, way.catalogue)
        fallback = self._fallback(state, plan, way, viewer, now)
        checked = False
        catalogue = way.catalogue
        kept = await self._kept(state, plan, way, request, key, viewer, fallback, mark, now)
        before = None
        if kept is not None and kept.meta["model_version"] in self._plans.withdrawn:
            before, kept = kept, None  # of what it ranked nothing more is shown
            if before.catalogue != catalogue.name and not await self._translations.known(
                before.catalogue, catalogue
            ):
                before = None
        if kept is None:
            version = catalogue.live.version
            kept = await self._ranked(plan, way, request, viewer, fallback, now)
            if before is not None:
                kept = self._behind(before, request.offset, kept, catalogue)
            kept.meta.update(history=mark, erased=erased)
            if keep:
                self._lists.put(key, kept)
            checked = catalogue.live.version == version
        elif (other := _catalogue_of(kept, way, state)) is not catalogue:
            catalogue = other  # it began in the arm where the user was
            viewer, mark = await self._viewer(request, catalogue)
        page = self._page(
            catalogue, plan.profile, request, viewer, kept, key, mark, now, checked=checked
        )
        meta = kept.meta
        self._count(meta["variant"], meta["model_version"], meta["fallback_reason"], start)
        return page

    def _nothing(self, reason: FallbackReason, plan: Plan, request_id: str, start: float) -> bytes:
        """A page without items, as JSON."""
        variant: Variant = "time" if plan.ranked_by == "time" else "heuristic"
        self._count(variant, None, reason, start)
        return _empty_page(variant, reason, plan, request_id)

    def history(self, user_id: str | None, live: LiveCatalogue) -> History | None:
        """What is at hand of what a user did since the snapshot."""
        return self._users.known(user_id, live) if self._users else None

    def _count(
        self,
        variant: Variant,
        version: str | None,
        fallback: FallbackReason | None,
        start: float,
    ) -> None:
        TALLY.count(feed_counter(variant, fallback))
        self._served(variant, version, fallback, time.perf_counter() - start)

    def close(self) -> None:
        for budget in self._budgets.values():
            budget.close()
        self._lists.close()

    def _notice(self, state: LiveState) -> None:
        """Be careful with catalogues that are new, and let go of those no longer in use."""
        if state is self._seen:
            return
        self._seen = state
        lives = {catalogue.live for catalogue in state.catalogues}
        if lives == self._lives:
            return
        for variant, catalogue in zip(MODELS, state.catalogues, strict=False):
            if catalogue.live not in self._lives:
                self._budgets[variant].be_careful()
                self._budgets["heuristic"].be_careful()
        self._lives = lives
        self._forget_others()
        # Once more: requests that began before may bring an earlier catalogue back.
        asyncio.get_running_loop().call_later(LAST_REQUESTS_SECONDS, self._forget_others)

    def _forget_others(self) -> None:
        """Let go of catalogues that are not in use."""
        self._pages.keep(self._lives)
        if self._users is not None:
            self._users.keep(self._lives)

    def _way(self, state: LiveState, catalogue: Catalogue, plan: Plan, now: float) -> _Way:
        """What the plan comes to; the champion where the challenger is not there.

        Args:
            catalogue: the champion's.
        """
        if plan.ranked_by == "challenger":
            if plan.asked:
                self._ask_challenger()
            one = state.challenger_at(now, plan.challenger)
            if one is not None:
                return _Way("challenger", one.catalogue, one.version)
        elif plan.ranked_by != "champion":
            return _Way(plan.ranked_by, catalogue, None)
        return _Way("champion", catalogue, state.model_version)

    async def _viewer(
        self, request: FeedRequest, catalogue: Catalogue
    ) -> tuple[Viewer, str | None]:
        """Who asks, as the catalogue has them, and the mark of what they did by now."""
        live = catalogue.live
        history = await self._users.get(request.user_id, live) if self._users else None
        viewer = live.viewer(request.user_id, lat=request.lat, lon=request.lon, history=history)
        return viewer, history.mark if history else None

    def _fallback(
        self, state: LiveState, plan: Plan, way: _Way, viewer: Viewer, now: float
    ) -> FallbackReason | None:
        """Why not what would usually rank this feed; None: it does, or another way was asked."""
        if way.variant not in MODELS:
            return plan.reason
        reason = state.fallback_for(
            viewer, now, self._database_up(), challenger=way.variant == "challenger"
        )
        if reason is None and way.variant != plan.ranked_by:
            return "challenger_unavailable"
        return reason

    async def _kept(
        self,
        state: LiveState,
        plan: Plan,
        way: _Way,
        request: FeedRequest,
        key: bytes,
        viewer: Viewer,
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
        if kept.meta.get("erased", 0.0) != self._erased.at(request.user_id):
            return None  # of somebody who was erased
        if not viewer.preferences.personalized and kept.meta["variant"] in MODELS:
            return None  # made before the user said so
        if request.feed_id is None and request.offset == 0:
            live = way.catalogue.live
            new_since = live.changed_at(request.user_id) + ADDED_MARGIN_SECONDS
            usable = (
                # One of the future was made before the clock was set back: its age is not known.
                -CLOCK_SECONDS < now - kept.made_at < serving.reuse_seconds
                and kept.catalogue == way.catalogue.name
                and kept.meta["fallback_reason"] == fallback
                and kept.meta.get("plan") == plan.mark
                and kept.meta.get("history") == mark
                and kept.made_at > max(new_since, state.profile_since)
            )
            return kept if usable else None
        # Further pages stay as the feed began, whatever the user would get now.
        catalogue = _catalogue_of(kept, way, state)
        if kept.catalogue == catalogue.name or await self._translations.known(
            kept.catalogue, catalogue
        ):
            return kept
        return None

    async def _ranked(
        self,
        plan: Plan,
        way: _Way,
        request: FeedRequest,
        viewer: Viewer,
        fallback: FallbackReason | None,
        now: float,
    ) -> FeedList:
        """A new list: by the model if nothing speaks against it, else by the heuristic, else
        what is popular."""
        catalogue = way.catalogue
        if way.variant in MODELS and fallback in STAND_INS:
            # The gate may have found that no model beats the heuristic: then it is the champion.
            won = catalogue.snapshot.manifest.recommender == "heuristic"
            ranking = await self._attempt(
                plan, way, request, viewer, "heuristic" if won else "model", now
            )
            if isinstance(ranking, Ranking):
                return self._list(plan, way, request, ranking, way.variant, fallback, now)
            fallback = ranking
        if fallback != "time_budget_exceeded":
            by: Literal["time", "heuristic"] = "time" if way.variant == "time" else "heuristic"
            known = viewer.preferences.personalized and not plan.impersonal
            ranking = await self._attempt(
                plan, way, request, viewer if known else viewer.impersonal(), by, now
            )
            if isinstance(ranking, Ranking):
                return self._list(plan, way, request, ranking, by, fallback, now)
            fallback = fallback or ranking
        may = _may_see(catalogue, plan.profile, request, now)
        popular = catalogue.shortlists.popular[: plan.profile.serving.list_length]
        rows = popular[may(viewer, popular)]
        sources = np.zeros(len(rows), np.uint16)
        if not len(rows) and request.exclude_seen is None:
            rows = popular[may(replace(viewer, seen=NOTHING), popular)]
            sources = np.full(len(rows), SEEN, np.uint16)
        nothing = np.zeros(len(rows), np.float32)
        engagement = catalogue.live.items.engagement[rows]
        ranking = Ranking(rows, engagement, sources, nothing + 1, nothing > 0)
        return self._list(plan, way, request, ranking, "heuristic", fallback, now)

    def _behind(
        self, before: FeedList, shown: int, after: FeedList, catalogue: Catalogue
    ) -> FeedList:
        """``after``, behind what was shown of ``before``: nothing is repeated, and pages go on
        where they were.

        Args:
            catalogue: of ``after``; rows of ``before`` are known in it.
        """
        rows = self._translations.read(catalogue, before, slice(shown))
        ids = [catalogue.live.item_id(row) if row >= 0 else "" for row in rows.tolist()]
        new = ~np.isin(self._translations.read(catalogue, after, slice(None)), rows[rows >= 0])
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(before, name)[:shown], getattr(after, name)[new]])
            for name in ("scores", "sources", "propensities", "explored")
        }
        places = -1 - len(after.extra_ids) - np.arange(len(ids), dtype=np.int32)
        return replace(
            after,
            rows=np.concatenate([places, after.rows[new]]).astype(np.int32),
            extra_ids=[*after.extra_ids, *ids],
            **joined,
        )

    async def _attempt(
        self,
        plan: Plan,
        way: _Way,
        request: FeedRequest,
        viewer: Viewer,
        by: By,
        now: float,
    ) -> Ranking | FallbackReason:
        """The ranking, or why there is none."""

        took: dict[str, float] = {}
        catalogue = way.catalogue
        model: Variant = "challenger" if way.variant == "challenger" else "champion"

        pipeline = catalogue.pipeline(plan.profile, self._guards[model])
        query = Query(
            now,
            by,
            exclude_seen=request.exclude_seen,
            exclude_applied=request.exclude_applied,
            context=Context.at(now, request.device),
            rng=self._rng,
        )

        def work() -> Ranking:
            timer = StageTimer()
            ranking = pipeline.rank(viewer, query, timer=timer)
            for stage, seconds in timer.seconds.items():
                stage_timer(stage).observe(seconds)
            took.update(timer.seconds)
            return ranking

        budget = self._budgets[model if by == "model" else "heuristic"]
        try:
            ranking = await budget.run(work)
            traces.stages(took)
            return ranking
        except BudgetSpent:
            return "time_budget_exceeded"
        except Exception as error:  # anything: the feed always answers
            self._log_failure(by, error)
            return "model_error"

    def _list(
        self,
        plan: Plan,
        way: _Way,
        request: FeedRequest,
        ranking: Ranking,
        variant: Variant,
        fallback: FallbackReason | None,
        now: float,
    ) -> FeedList:
        """
        Args:
            variant: what ranked in the end.
        """
        catalogue, by_model = way.catalogue, variant in MODELS
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
                "model_version": way.version if by_model else None,
                "by_model": by_model and catalogue.snapshot.manifest.recommender != "heuristic",
                "experiments": plan.experiments,
                "plan": plan.mark,
                "impersonal": plan.impersonal,
                "device": request.device,
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
        rows = self._translations.read(catalogue, kept, slice(None))
        shown = rows >= 0
        if not checked:
            may, again = _may_see(catalogue, profile, request, now), kept.sources & SEEN > 0
            shown &= _still_shown(may, viewer, rows, again, request.offset)
        total, more = int(shown.sum()), bool(shown[part.stop :].any())
        places = np.flatnonzero(shown[part])
        rows = rows[part][places]
        if not viewer.preferences.personalized or kept.meta.get("impersonal"):
            viewer = viewer.impersonal()
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
            "total": total,
            "has_more": more,
            "next": _next_page(request, kept.feed_id) if more else None,
            "feed_id": kept.feed_id,
            "model_version": kept.meta["model_version"],
            "variant": kept.meta["variant"],
            "fallback_reason": kept.meta["fallback_reason"],
            "experiments": kept.meta.get("experiments", {}),
        }
        until = valid_until(live, rows, now)
        page = RenderedPage(orjson.dumps(body), live, version, profile, until)
        self._pages.put(key, page)
        seconds = time.perf_counter() - start
        stage_timer("page").observe(seconds)
        traces.stages({"page": seconds})
        return page

    def _log_failure(self, what: str, error: Exception) -> None:
        """Once in a while: a model that fails, fails for everybody."""
        if monotonic() - self._last_logged >= LOG_EVERY_SECONDS:
            self._last_logged = monotonic()
            log.error("ranking failed", exc_info=error, extra={"ranked_by": what})


def _catalogue_of(kept: FeedList, way: _Way, state: LiveState) -> Catalogue:
    """The one that the list's rows are of, if it is in use; else the way's."""
    in_use = (way.catalogue, *state.catalogues)
    return next((one for one in in_use if one.name == kept.catalogue), way.catalogue)


def _may_see(
    catalogue: Catalogue, profile: Profile, request: FeedRequest, now: float
) -> Callable[[Viewer, Indices], np.ndarray]:
    """Which of some rows a viewer may be shown, by the rules of now."""

    def may(viewer: Viewer, rows: Indices) -> np.ndarray:
        return allowed(
            catalogue.live,
            viewer,
            profile,
            rows,
            now=now,
            exclude_seen=request.exclude_seen,
            exclude_applied=request.exclude_applied,
        )

    return may


def _still_shown(
    may: Callable[[Viewer, Indices], np.ndarray],
    viewer: Viewer,
    rows: Indices,
    again: np.ndarray,
    offset: int,
) -> np.ndarray:
    """Which of a list's rows may be shown by now, or could have been on a page before ``offset``:
    what the user did with those since does not count.

    Args:
        again: rows that the user had seen already when the list was made.
    """
    stranger = replace(viewer, seen=NOTHING, applied=NOTHING, dismissed=NOTHING)
    after, again = rows[offset:], again[offset:]
    shown = may(viewer, after)
    if again.any():
        shown |= again & may(replace(viewer, seen=NOTHING), after)
    return np.concatenate([may(stranger, rows[:offset]), shown])


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


def _empty_page(variant: Variant, reason: FallbackReason, plan: Plan, request_id: str) -> bytes:
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
