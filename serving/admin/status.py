"""``/admin/status``: all of it on one page, whatever is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from gateway.dagster_client import CODE_AWAY, DagsterAway, Run
from models.versions.version import RegistryAway
from serving.admin.dagster import Dagster, Seen
from serving.admin.models import ModelVersionTold, described
from serving.admin.registry import Listing, VersionList
from serving.http.answers import answer_json
from serving.http.endpoints import Answer, Endpoints
from serving.postgres.database import Database, DatabaseAway
from serving.versions.live_state import LiveState
from storage.events.store import Connection
from storage.operations import records
from storage.operations.served import TOTALS, Latency, Served, fallback_shares, served_of
from storage.settings import Settings

T = TypeVar("T")

LOOK_SECONDS = 1.6
"""For each part; they are looked at all at once."""
HOUR = timedelta(hours=1)
SPOOL_SECONDS = 60.0
"""The spool is empty seconds after Postgres is back."""


@dataclass(frozen=True)
class Stored:
    """What Postgres says."""

    withdrawn: list[records.Row]
    served: list[Served]


class NamedVersion(ModelVersionTold):
    age_seconds: float | None = Field(default=None, description="Since it was trained.")
    recommender: str | None = None
    run_id: str = ""
    has_snapshot: bool = True
    refused: str | None = None
    withdrawn: str | None = None


class Withdrawal(BaseModel):
    version: str
    withdrawn_at: datetime
    actor: str
    reason: str
    done_at: datetime | None = Field(description="Null: its rollback waits for MLflow.")


class Fallback(BaseModel):
    share_1h: float | None
    by_reason: dict[str, float]


class LatencyTold(BaseModel):
    p50_ms: float | None
    p99_ms: float | None


class Training(BaseModel):
    running: bool
    run_id: str | None = Field(description="The run that is on its way, or the last one.")
    address: str | None
    started_at: datetime | None
    last_ended: datetime | None
    last_status: str | None
    last_address: str | None


class AssetFreshness(BaseModel):
    asset: str
    group: str
    materialized_at: datetime | None
    age_seconds: float | None


class Addresses(BaseModel):
    dagster: str
    mlflow: str


class AdminStatus(BaseModel):
    """What is live, how it does, and what is away."""

    live: NamedVersion | None
    previous: NamedVersion | None = Field(description="What a rollback would put back.")
    challenger: NamedVersion | None
    pending_rollback: Withdrawal | None
    withdrawn: list[Withdrawal]
    requests_1h: int | None
    fallback: Fallback | None
    latency: LatencyTold | None
    training: Training | None
    freshness: list[AssetFreshness]
    database_up: bool
    registry_up: bool
    dagster_up: bool
    problems: list[str] = Field(description="What is away, in words.")
    environment: str
    addresses: Addresses
    request_id: str


endpoints = Endpoints(tag="admin", scope="admin")


class StatusCalls:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        versions: VersionList,
        dagster: Dagster,
        state: Callable[[], LiveState],
        spool_age: Callable[[], float],
    ) -> None:
        """
        Args:
            spool_age: seconds that the oldest event has waited for Postgres.
        """
        self._settings = settings
        self._database = database
        self._versions = versions
        self._dagster = dagster
        self._state = state
        self._spool_age = spool_age

    @endpoints.declare(
        "GET /api/v1/admin/status",
        Answer("The status", AdminStatus),
        audited=False,
        compressed=True,
    )
    async def admin_status(self, request: Request) -> Response:
        """What is live, and how it does.

        Answers within 2 seconds whatever is away, and says what is: parts of it are then null.
        """
        problems: list[str] = []
        listing, seen, stored = await asyncio.gather(
            _within("MLflow", self._versions.read(), problems),
            _within("Dagster", self._dagster.look(), problems),
            _within("Postgres", self._stored(), problems),
        )
        if seen is not None and seen.code_away:
            problems.append(f"Dagster: {CODE_AWAY}")
        now = time.time()
        fallback = self._state().fallback(now, stored is not None)
        if fallback is not None:
            why = self._state().detail
            problems.append(f"The heuristic answers, {fallback}" + (f": {why}" if why else ""))
        elif (older := self._state().detail) is not None:
            problems.append(older[:1].upper() + older[1:])
        waiting = self._spool_age()
        if waiting > SPOOL_SECONDS and stored is not None:
            problems.append(
                f"Events have waited for {waiting:.0f} s to be written, though Postgres answers: "
                "feedwright logs feed says why"
            )
        withdrawn = stored.withdrawn if stored else []
        pending = next((row for row in withdrawn if row["done_at"] is None), None)
        return answer_json(
            request,
            {
                **self._models(listing, withdrawn, now),
                "pending_rollback": pending,
                "withdrawn": withdrawn,
                **_served(stored.served if stored else None),
                "training": seen and self._training(seen),
                "freshness": [
                    {
                        "asset": asset.name,
                        "group": asset.group,
                        "materialized_at": _time(asset.materialized_at),
                        "age_seconds": asset.materialized_at and now - asset.materialized_at,
                    }
                    for asset in (seen.assets if seen else [])
                ],
                "database_up": stored is not None,
                "registry_up": listing is not None,
                "dagster_up": seen is not None,
                "problems": problems,
                "environment": self._settings.environment,
                "addresses": {
                    "dagster": self._dagster.public_address,
                    "mlflow": self._settings.mlflow_public_address,
                },
            },
        )

    async def _stored(self) -> Stored:
        if self._database.checked and not self._database.up:
            raise DatabaseAway("it did not answer a moment ago")

        async def work(connection: Connection) -> Stored:
            now = datetime.now(UTC)
            cursor = await connection.execute(TOTALS, {"start": now - HOUR, "end": now})
            return Stored(await records.withdrawn(connection), served_of(await cursor.fetchall()))

        return await self._database.run(work)

    def _models(
        self, listing: Listing | None, withdrawn: list[records.Row], now: float
    ) -> dict[str, Any]:
        if listing is None:  # what this worker has loaded
            return {"live": self._loaded(now), "previous": None, "challenger": None}
        reasons = {row["version"]: row["reason"] for row in withdrawn}
        named = {
            "live": listing.champion,
            "previous": listing.previous(set(reasons)),
            "challenger": listing.challenger,
        }
        return {
            name: version
            and {
                **(row := described(version, reasons)),
                "age_seconds": _age(row["trained_at"], now),
            }
            for name, version in named.items()
        }

    def _loaded(self, now: float) -> dict[str, Any] | None:
        state = self._state()
        if state.model_version is None:
            return None
        return {
            "version": state.model_version,
            "recommender": None,
            "trained_at": _time(state.trained_at),
            "age_seconds": state.trained_at and now - state.trained_at,
            "aliases": [],
            "metrics": {},
            "tags": {},
        }

    def _training(self, seen: Seen) -> dict[str, Any]:
        def address(run: Run | None) -> str | None:
            return self._dagster.run_address(run.run_id) if run else None

        going, ended = seen.going, seen.ended
        shown = going or ended
        return {
            "running": going is not None,
            "run_id": shown and shown.run_id,
            "address": address(shown),
            "started_at": _time(going.started_at if going else None),
            "last_ended": _time(ended.ended_at if ended else None),
            "last_status": ended and ended.status,
            "last_address": address(ended),
        }


async def _within(what: str, look: Awaitable[T], problems: list[str]) -> T | None:
    """What ``look`` finds; None: it is away, which is added to ``problems``."""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            return await look
    except (RegistryAway, DagsterAway, DatabaseAway) as error:
        problems.append(f"{what} is away: {error}")
    except TimeoutError:
        problems.append(f"{what} is away: no answer within {LOOK_SECONDS:g} s")
    return None


def _served(minutes: list[Served] | None) -> dict[str, Any]:
    """Of the last hour; None: Postgres is away."""
    if minutes is None:
        return {"requests_1h": None, "fallback": None, "latency": None}
    total = Latency.sum(served.latency for served in minutes)
    latency = total.as_json()
    shares = fallback_shares(minutes)
    return {
        "requests_1h": latency.pop("requests"),
        "fallback": {
            "share_1h": sum(shares.values()) if total.requests else None,
            "by_reason": dict(sorted(shares.items(), key=lambda pair: -pair[1])),
        },
        "latency": latency,
    }


def _time(epoch: float | None) -> str | None:
    return None if epoch is None else datetime.fromtimestamp(epoch, UTC).isoformat()


def _age(trained_at: str | None, now: float) -> float | None:
    return None if trained_at is None else now - datetime.fromisoformat(trained_at).timestamp()
