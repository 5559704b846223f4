"""How an installation is: services, live model, amounts of data, assets."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import httpx
import psycopg

from feedwright.local.database import database_address
from feedwright.local.first_run import champion_version
from feedwright.processes.services import addresses
from feedwright.processes.supervisor import is_ready
from gateway.dagster_client import DagsterAway, DagsterClient
from models.profile.interaction_types import DEFAULT_TYPES
from models.versions.version import CHAMPION, RegistryAway
from storage.postgres.database import DatabaseError, connect
from storage.registry import rest
from storage.settings import Settings, mlflow_tracking_uri

COUNTS = {
    "users": "feed.users",
    "items": "feed.items",
    "interactions": "feed.interactions",
    "rejected": "feed.interactions_rejected",
}
SAMPLED = 200_000  # interactions that sample users are chosen from
CANDIDATES = 20


def status(settings: Settings) -> dict[str, Any]:
    """The document of ``status --json``. Nothing is started; what is not to be had is null."""
    document: dict[str, Any] = {
        "services": service_status(settings),
        "database_problem": None,
        "champion": None,
        "feed": feed_status(settings),
        "counts": dict.fromkeys(COUNTS),
        "assets": [],
        "sample_users": [],
    }
    if document["services"]["dagster"]["ready"]:
        document["assets"] = asyncio.run(assets(settings.dagster_address))
    url = database_address(settings)
    if url is None:
        return document
    try:
        with connect(url, autocommit=True) as connection:
            if _is_empty(connection):
                return document
            document["counts"] = counts(connection)
            document["sample_users"] = sample_users(connection)
            document["champion"] = champion(connection, settings, url)
    except DatabaseError as error:
        document["database_problem"] = str(error)
    return document


def is_healthy(document: dict[str, Any]) -> bool:
    """All services ready, a model live and served by the feed, and no asset check failed."""
    feed = document["feed"]
    return (
        all(service["ready"] for service in document["services"].values())
        and document["champion"] is not None
        and feed is not None
        and feed["fallback_reason"] is None
        and not any(asset["checks_passed"] is False for asset in document["assets"])
    )


def service_status(settings: Settings) -> dict[str, dict[str, Any]]:
    listed = addresses(settings)
    with (
        httpx.Client(timeout=3.0, trust_env=False) as client,
        ThreadPoolExecutor(len(listed)) as pool,
    ):
        ready = list(pool.map(lambda address: is_ready(client, address.health_url), listed))
    return {
        address.name: {"url": address.url, "ready": answer}
        for address, answer in zip(listed, ready, strict=True)
    }


def feed_status(settings: Settings) -> dict[str, Any] | None:
    """What a worker of the feed says it serves: the version, and why the heuristic answers
    instead. None: it does not answer."""
    try:
        with feed_client(settings, 3.0) as client:
            answer = client.get("/api/v1/status").raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    return {name: answer.get(name) for name in ("model_version", "fallback_reason", "detail")}


def feed_client(settings: Settings, seconds: float) -> httpx.Client:
    """Asks the feed, with the key that is set."""
    key = settings.api_key
    return httpx.Client(
        base_url=settings.feed_address,
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=seconds,
        trust_env=False,
    )


def counts(connection: psycopg.Connection) -> dict[str, int]:
    """Rows by table."""
    columns = ", ".join(f"(SELECT count(*) FROM {table})" for table in COUNTS.values())
    row = connection.execute(f"SELECT {columns}").fetchone()
    assert row is not None
    return dict(zip(COUNTS, row, strict=True))


def sample_users(connection: psycopg.Connection) -> list[str]:
    """Two users with long histories that have little in common, or as many as there are.

    They are chosen from the first ``SAMPLED`` interactions that say what a user wants.
    """
    uninteresting = {*DEFAULT_TYPES.names} - {*DEFAULT_TYPES.interested}
    rows = connection.execute(
        "SELECT user_id, array_agg(DISTINCT item_id) AS items FROM ("
        "SELECT user_id, item_id FROM feed.interactions "
        "WHERE user_id IS NOT NULL AND item_id IS NOT NULL "
        "AND type <> ALL(%s) LIMIT %s) AS log "
        "GROUP BY user_id ORDER BY count(DISTINCT item_id) DESC, user_id LIMIT %s",
        [[*uninteresting], SAMPLED, CANDIDATES],
    ).fetchall()
    histories = {user: frozenset(items) for user, items in rows}
    if len(histories) < 2:
        return list(histories)

    def jaccard(user: str, other: str) -> float:
        a, b = histories[user], histories[other]
        return len(a & b) / len(a | b)

    return list(min(combinations(histories, 2), key=lambda pair: jaccard(*pair)))


def champion(connection: psycopg.Connection, settings: Settings, url: str) -> dict[str, Any] | None:
    """Version, time and metrics of the live model; None when there is none."""
    if champion_version(connection, settings) is None:
        return None
    try:
        return _champion_of(settings)
    except RegistryAway:  # its tables are asked, by MLflow's library: importing it takes seconds
        from storage.registry.registry import Registry

        live = Registry(mlflow_tracking_uri(settings, url), settings.model_name).champion()
    if live is None:
        return None
    return {"version": live.version, "trained_at": live.trained_at, "metrics": live.metrics}


def _champion_of(settings: Settings) -> dict[str, Any] | None:
    """As MLflow's server has it.

    Raises:
        RegistryAway: it does not answer.
    """
    address = settings.mlflow_address + rest.PATH
    with rest.asking(), httpx.Client(base_url=address, timeout=3.0, trust_env=False) as client:
        live = rest.named_version(client, settings.model_name, CHAMPION)
        if live is None:
            return None
        run = rest.answer_of(client.get("runs/get", params={"run_id": live["run_id"]}))
        return {
            "version": str(live["version"]),
            "trained_at": rest.tags_of(live.get("tags")).get("trained_at"),
            "metrics": rest.metrics_of(run),
        }


async def assets(address: str) -> list[dict[str, Any]]:
    """Every asset of Dagster: key, last_materialized_at (RFC 3339, null: never), and whether all
    its checks passed when they last ran (null: it has none, or they never ran)."""
    try:
        async with DagsterClient(address) as dagster:
            listed, passed = await asyncio.gather(dagster.assets(), dagster.checks_passed())
    except DagsterAway:
        return []
    return [
        {
            "key": asset.name,
            "last_materialized_at": asset.materialized_at
            and datetime.fromtimestamp(asset.materialized_at, UTC).isoformat(),
            "checks_passed": passed.get(asset.name),
        }
        for asset in listed
    ]


def _is_empty(connection: psycopg.Connection) -> bool:
    """Whether the database was never migrated."""
    return connection.execute("SELECT to_regclass('feed.interactions')").fetchone() == (None,)
