"""The HTTP API: routes, and the parts behind them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from models.catalogue.live import LiveCatalogue
from models.feed.candidates.rules import allowed
from models.profile.file import ProfileFile
from serving import admin, openapi, pages
from serving.access import Access, user_tokens
from serving.feed.attribution import attribute
from serving.feed.engine import FeedEngine
from serving.feed.lists import FeedLists
from serving.feed.plans import Plans
from serving.feed.translations import Translations
from serving.http.paths import AsRouted
from serving.http.problems import EXCEPTION_HANDLERS
from serving.ingest import Ingest, ingest_routes
from serving.ingest.spool import oldest_age
from serving.postgres.database import Database, database_address
from serving.routes import experiments, feed, service
from serving.routes.catalogue import catalogue_routes
from serving.routes.reads import read_routes
from serving.state.catalogue import catalogues
from serving.state.erased_users import ErasedUsers
from serving.state.follower import Follower
from serving.state.touched import Touched
from serving.state.traffic import TrafficWatch
from serving.state.user_states import UserStates
from serving.telemetry import logs, traces
from serving.telemetry.metrics import TALLY, LiveVersion, NowCollector
from serving.telemetry.observed import Observed
from serving.telemetry.overview import OverviewWatch
from serving.telemetry.served import Served
from serving.versions.live_model import LiveModel
from storage.catalogue import refresh_queue
from storage.events.store import Event
from storage.settings import Settings

log = logging.getLogger("feedwright.serving")
CATCH_UP_SECONDS = 30.0
AGAIN_SECONDS = 1.0
PURGE_SECONDS = 60.0
COLLECT_SECONDS = 30.0


class FeedApp:
    """Everything that one worker holds.

    Attributes:
        asgi: the application.
        live, database, follower, engine: its parts.
    """

    def __init__(self, settings: Settings, profile: ProfileFile | None = None) -> None:
        self._settings = settings
        self._profile = profile or ProfileFile(settings.profile)
        self.database = Database(lambda: database_address(settings))
        self.access = Access(settings, self.database, openapi.ENDPOINTS)
        self.touched = Touched(settings.home / "serving")
        self.erased = ErasedUsers()
        self.traffic = TrafficWatch(
            self.database, settings.environment, changed=lambda: self.live.publish()
        )
        self.live = LiveModel(
            settings,
            self._profile,
            database_up=lambda: self.database.up,
            catch_up=self._catch_up,
            withdrawn=lambda: self.traffic.now.withdrawn,
            challenger_needed=lambda: any(
                arm.ranked_by == "challenger"
                for experiment in self.traffic.now.traffic.experiments
                for arm in experiment.arms
            ),
            compared=lambda: bool(self.traffic.now.traffic.experiments),
        )
        self.follower = Follower(
            lambda: database_address(settings),
            lambda: [catalogue.live for catalogue in self.live.state.catalogues],
            lambda: self.live.state.profile,
            seconds=settings.catalogue_poll_seconds,
            touched=self.touched,
            erased=self.erased,
        )
        self._spool = settings.home / "serving" / "spool"
        self.ingest = Ingest(
            lambda: database_address(settings),
            self._spool,
            retention=timedelta(days=self._profile.profile.privacy.retention_days),
            types=lambda: self._profile.profile.interaction_types,
            complete=self._attribute,
            committed=self.touched.mark,
            signalled=refresh_queue.request,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self.served = Served(self.database)
        self._overview = OverviewWatch(self.database, settings.environment)
        self._now = NowCollector(self._versions, lambda: self._overview.now, self._spool_age)
        self.asgi = Starlette(
            routes=[*self._routes(), Route("/{path:path}", _NotFound())],
            exception_handlers=EXCEPTION_HANDLERS,
            middleware=[
                Middleware(AsRouted),
                Middleware(Observed),
                *self.access.middleware(),
            ],
            lifespan=self._lifespan,
        )

    def is_ready(self) -> bool:
        """The first look for a model and a database is over."""
        return self.live.state.polled_at is not None and self.database.checked

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        logs.configure(self._settings.log_level)
        if self._settings.otlp_endpoint is not None:
            traces.start(str(self._settings.otlp_endpoint))
        self._loop = asyncio.get_running_loop()
        # Opened here, not before: a fork must not take the file along.
        lists = FeedLists(
            self._settings.feed_lists,
            max_bytes=self._settings.feed_lists_mb * 2**20,
            keep_seconds=self._profile.profile.serving.list_minutes * 60,
        )
        self.engine = FeedEngine(
            lambda: self.live.state,
            lambda: self.database.up,
            lists,
            Translations(self._settings.snapshots, catalogues(self._settings)),
            Plans(lambda: self.traffic.now),
            ask_challenger=self.live.ask_challenger,
            users=UserStates(
                self.database, self.touched, lambda: self.live.state.profile, self.erased
            ),
            erased=self.erased,
            served=self.served.count,
        )
        self._lists = lists
        # Before the first request is taken: a new worker serves as the others do at once.
        await self.database.check()
        await self.traffic.look()
        await self.access.open()
        await asyncio.to_thread(self.live.poll)
        await asyncio.to_thread(self.live.poll_challenger)
        await self.ingest.start()
        tasks = [
            asyncio.create_task(_for_ever(run))
            for run in (
                partial(self.database.watch, self._settings.model_poll_seconds),
                partial(self.traffic.run, self._settings.model_poll_seconds),
                self.follower.run,
                self.access.run,
                self.served.run,
                self._overview.run,
                partial(_purge, lists),
                _collect_cycles,
            )
        ]
        self.live.start()
        # What lives for ever need not be looked through by every collection: those pauses
        # are the latency's tail.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 50, 100)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.ingest.close()
            await self.access.close()
            await self.served.flush()
            TALLY.flush()
            await asyncio.to_thread(self.live.stop)
            await self.follower.close()
            await self.database.close()
            self.engine.close()
            await asyncio.to_thread(traces.stop)
            gc.unfreeze()  # where the process goes on, as in tests, it can be freed

    def _routes(self) -> list[Route]:
        """Of every group of ``openapi.GROUPS``."""
        service_calls = service.ServiceCalls(
            lambda: self.live.state,
            self.database,
            self.follower,
            lambda: self._profile.problem,
            self._now,
            openapi.encoded,
        )
        return [
            *feed.endpoints.routes(feed.FeedCalls(lambda: self.engine)),
            *ingest_routes(self.database, self.ingest),
            *read_routes(lambda: self.live.state, lambda: self.engine, self.database),
            *experiments.endpoints.routes(
                experiments.UserExperimentCalls(lambda: self.traffic.now)
            ),
            *catalogue_routes(self.database, written=self.follower.soon, may_show=self._may_show),
            *service.endpoints.routes(service_calls),
            *user_tokens.endpoints.routes(user_tokens.UserTokenCalls(self.access.ring)),
            *admin.admin_routes(
                self._settings, self.database, self.live, lambda: self.engine, self._spool_age
            ),
            *(route for group in pages.GROUPS for route in group.routes()),
        ]

    def _spool_age(self) -> float:
        return oldest_age(self._spool, time.time())

    def _live_catalogue(self) -> LiveCatalogue | None:
        catalogue = self.live.state.catalogue
        return catalogue.live if catalogue else None

    def _attribute(self, events: list[Event]) -> None:
        types = self._profile.profile.interaction_types
        attribute(events, self._lists.get, self.live.state.catalogues, types)

    def _may_show(self, user_id: str, item_ids: list[str]) -> list[bool]:
        live = self._live_catalogue()
        if live is None:  # the rules cannot be looked at
            return [False] * len(item_ids)
        viewer = live.viewer(user_id, history=self.engine.history(user_id, live))
        if not viewer.preferences.personalized:  # the list was made before the user said so
            return [False] * len(item_ids)
        rows = live.find_items(item_ids)
        may = rows >= 0
        may[may] = allowed(
            live,
            viewer,
            self.live.state.profile,
            rows[may],
            now=time.time(),
            exclude_seen=True,
            exclude_applied=True,
        )
        return may.tolist()

    def _catch_up(self, live: LiveCatalogue) -> None:
        """From the poller's thread: have the follower bring a catalogue up to date."""
        if self._loop is None:  # nothing is served yet
            return
        done = asyncio.run_coroutine_threadsafe(self.follower.catch_up(live), self._loop)
        with contextlib.suppress(TimeoutError):  # much changed: the follower goes on with it
            done.result(CATCH_UP_SECONDS)

    def _versions(self) -> list[LiveVersion]:
        """The versions that this worker serves."""
        state = self.live.state
        versions = []
        if state.model_version is not None and state.catalogue is not None:
            manifest = state.catalogue.snapshot.manifest
            versions.append(
                LiveVersion(
                    "champion", state.model_version, state.trained_at, manifest.train_seconds
                )
            )
        if (other := state.challenger) is not None:
            manifest = other.catalogue.snapshot.manifest
            versions.append(
                LiveVersion("challenger", other.version, other.trained_at, manifest.train_seconds)
            )
        return versions


async def _for_ever(run: Callable[[], Awaitable[None]]) -> None:
    """``run``, again if it breaks off: a worker that no longer looks would serve withdrawn
    versions, and open to revoked keys, for as long as it lives."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("background task broke off and begins anew")
        await asyncio.sleep(AGAIN_SECONDS)


async def _collect_cycles() -> None:
    """Frees what failed requests leave behind in cycles, which the thresholds let lie for hours:
    some thousands of objects, 2 ms."""
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        gc.collect()


async def _purge(lists: FeedLists) -> None:
    """Remove old lists, for ever."""
    while True:
        await asyncio.sleep(PURGE_SECONDS)
        await asyncio.to_thread(lists.purge, time.time())


class _NotFound:
    """The last route: 405 where another has the path with other methods, else 404."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        routes: list[Route] = scope["app"].routes
        other = next((route for route in routes if route.matches(scope)[0] is Match.PARTIAL), None)
        if other is not None:
            methods = {
                each for route in routes if route.path == other.path for each in route.methods or ()
            }
            allowed = ", ".join(sorted(methods))
            raise HTTPException(405, f"{path} answers {allowed}, not {method}", {"Allow": allowed})
        raise HTTPException(404, f"There is nothing at {path}; see /docs")
