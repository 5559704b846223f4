"""The feed engine: one request in, one page out, whatever happens.

A viewer's feed is ranked once, as a list; its pages are read from that list, by whichever worker,
so that scrolling neither repeats nor skips an item. The rules are looked at again for every page:
what may no longer be shown is left out of it, and the ranks of others stay.

A request goes through these files:

    plans.py       how the feed is to be ranked, by the request, flags and experiments
    visit.py       who asks, and what of what is live ranks for them
    kept_lists.py  the list that they continue
    ranking.py     or else a new one
    pages.py       and the page of it
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import History, Viewer
from serving.feed.feed_list import FeedList
from serving.feed.kept_lists import KeptLists, catalogue_of
from serving.feed.lists import FeedLists
from serving.feed.pages import Pages, RenderedPage, empty_page
from serving.feed.plans import Plan, Plans
from serving.feed.ranking import FailureLog, FeedRanking, Stages
from serving.feed.shapes import FeedRequest
from serving.feed.translations import Translations
from serving.feed.visit import MODELS, Visit, choose, list_key
from serving.state.erased_users import ErasedUsers
from serving.state.user_states import UserStates
from serving.telemetry.metrics import TALLY, feed_counter
from serving.versions.fallback import FallbackReason, Variant
from serving.versions.live_state import Catalogue, LiveState

ServedCounter = Callable[[str, str | None, str | None, float], None]
LAST_REQUESTS_SECONDS = 10.0
"""By then requests that began before a swap are over."""


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
            served: called for every page, see ``serving.telemetry.served.Served.count``.
        """
        self._live = live
        self._database_up = database_up
        self._plans = plans
        self._ask_challenger = ask_challenger
        self._users = users
        self._erased = erased or ErasedUsers()
        self._clock = clock
        self._served = served
        self._failures = FailureLog()
        self._kept = KeptLists(lists, translations, self._erased)
        seconds = live().profile.serving.time_budget_ms / 1000
        self.ranking = FeedRanking(seconds, translations, self._failures)
        self._pages = Pages(translations)
        self._last_state: LiveState | None = None
        self._lives: set[LiveCatalogue] = set()

    def close(self) -> None:
        self.ranking.close()
        self._kept.close()

    def history(self, user_id: str | None, live: LiveCatalogue) -> History | None:
        """What is at hand of what a user did since the snapshot."""
        return self._users.at_hand(user_id, live) if self._users else None

    async def feed(self, request: FeedRequest, request_id: str, *, keep: bool = True) -> bytes:
        """The page as JSON, of the shape ``FeedPage``. Never raises: what fails is logged and
        counted, and the page says why it is empty.

        Args:
            keep: the list, for further pages; nobody scrolls a mail.
        """
        start, now = time.perf_counter(), self._clock()
        state = self._live()
        plan = self._plans.of(request, state.profile)
        if state.catalogue is None:
            return self._empty_page("no_catalogue", plan, request_id, start)
        try:
            self._notice(state)
            visit = await self._visit(request, state, state.catalogue, plan, now)
            page, kept = await self._page(visit, keep)
        except Exception as error:  # anything, as a file that was damaged while it is mapped
            self._failures.add("page", error)
            return self._empty_page("catalogue_damaged", plan, request_id, start)
        meta = kept.meta
        self._count(meta["variant"], meta["model_version"], meta["fallback_reason"], start)
        return page.with_request_id(request_id)

    async def stages(self, request: FeedRequest) -> tuple[Visit, Stages] | None:
        """How a new feed would be ranked, stage by stage, with nothing explored: to be judged, so
        nothing of it is kept or counted. None: there is no catalogue."""
        state = self._live()
        if state.catalogue is None:
            return None
        self._notice(state)
        plan = self._plans.of(request, state.profile)
        visit = await self._visit(request, state, state.catalogue, plan, self._clock())
        return visit, await asyncio.to_thread(self.ranking.stages, visit)

    async def _visit(
        self,
        request: FeedRequest,
        state: LiveState,
        champion: Catalogue,
        plan: Plan,
        now: float,
    ) -> Visit:
        """Who asks, and what ranks for them."""
        if plan.asked and plan.ranked_by == "challenger":
            self._ask_challenger()
        choice = choose(state, champion, plan, now)
        erased = self._erased.at(request.user_id)  # before any wait, see there
        viewer, history = await self._viewer(request, choice.catalogue)
        fallback = choice.fallback(state, viewer, now, self._database_up())
        return Visit(
            request, list_key(request), state, choice, viewer, history, fallback, erased, now
        )

    async def _viewer(
        self, request: FeedRequest, catalogue: Catalogue
    ) -> tuple[Viewer, str | None]:
        """Who asks, as the catalogue has them, and the mark of what they did by now."""
        live = catalogue.live
        history = await self._users.get(request.user_id, live) if self._users else None
        viewer = live.viewer(request.user_id, lat=request.lat, lon=request.lon, history=history)
        return viewer, history.mark if history else None

    async def _page(self, visit: Visit, keep: bool) -> tuple[RenderedPage, FeedList]:
        """The page, and the list that it is of: a kept one, or a new one."""
        kept = await self._kept.find(visit)
        if kept is None or kept.meta["model_version"] in self._plans.withdrawn:
            kept, checked = await self._new_list(visit, keep, withdrawn=kept)
        else:
            checked = False
            catalogue = catalogue_of(kept, visit)
            if catalogue is not visit.catalogue:  # it began in the arm where the user was
                choice = replace(visit.choice, catalogue=catalogue)
                viewer, history = await self._viewer(visit.request, catalogue)
                visit = replace(visit, choice=choice, viewer=viewer, history=history)
        return self._pages.page(visit, kept, checked=checked), kept

    async def _new_list(
        self, visit: Visit, keep: bool, withdrawn: FeedList | None
    ) -> tuple[FeedList, bool]:
        """A new list, and whether the rules that it was ranked by are still those of its catalogue.

        Args:
            withdrawn: what the user saw until now, by a version of which nothing more is shown.
        """
        catalogue = visit.catalogue
        if withdrawn is not None and not await self._kept.is_readable(withdrawn, catalogue):
            withdrawn = None
        version = catalogue.live.version
        ranked = await self.ranking.new_list(visit)
        if withdrawn is not None:
            ranked = self._kept.behind(withdrawn, visit, ranked)
        if keep:
            self._kept.put(visit, ranked)
        return ranked, catalogue.live.version == version

    def _empty_page(
        self, reason: FallbackReason, plan: Plan, request_id: str, start: float
    ) -> bytes:
        variant: Variant = "time" if plan.ranked_by == "time" else "heuristic"
        self._count(variant, None, reason, start)
        return empty_page(variant, reason, plan, request_id)

    def _count(
        self, variant: Variant, version: str | None, fallback: FallbackReason | None, start: float
    ) -> None:
        TALLY.count(feed_counter(variant, fallback))
        self._served(variant, version, fallback, time.perf_counter() - start)

    def _notice(self, state: LiveState) -> None:
        """Be careful with catalogues that are new, and let go of those no longer in use."""
        if state is self._last_state:
            return
        self._last_state = state
        lives = {catalogue.live for catalogue in state.catalogues}
        if lives == self._lives:
            return
        for model, catalogue in zip(MODELS, state.catalogues, strict=False):
            if catalogue.live not in self._lives:
                self.ranking.be_careful(model)
        self._lives = lives
        self._forget_others()
        # Once more: requests that began before may bring an earlier catalogue back.
        asyncio.get_running_loop().call_later(LAST_REQUESTS_SECONDS, self._forget_others)

    def _forget_others(self) -> None:
        """Let go of catalogues that are not in use."""
        self._pages.keep(self._lives)
        if self._users is not None:
            self._users.keep(self._lives)
