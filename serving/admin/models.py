"""``/admin/models``: every version, and which one is live.

Moves are made by ``going_live.releases`` in a process of its own: it imports MLflow, which is
too large for a worker.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable
from typing import Annotated, Any

from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from going_live.releases import STATUS
from models.versions.version import CHAMPION, RegistryAway
from serving.admin.parts import Asked, Unfinished, actor_of, asked, in_time
from serving.admin.registry import MOST, Listing, Version, VersionList
from serving.http.answers import answer_json, not_found
from serving.http.describe import path_id
from serving.http.endpoints import Answer, Body, Endpoints
from serving.http.problems import problem
from serving.launch import ROOT, settings_environment
from serving.postgres.database import Database
from storage.operations import records
from storage.settings import Settings

MOVE_SECONDS = 120.0
GOES_ON = "It takes longer than usual and goes on: look at the status in a few seconds."


class Activate(Asked):
    """Make a version the champion."""

    force: bool = Field(default=False, description="Even if it was withdrawn, or refused.")


class Rollback(Asked):
    """Put the previous champion back."""

    expected: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")] | None = (
        Field(
            default=None,
            description="The version that should go; if it is not live, nothing moves.",
        )
    )


class Moved(BaseModel):
    """What became of the move."""

    version: str | None = Field(default=None, description="Live now; null: the heuristic answers.")
    previous: str | None = Field(default=None, description="Live before.")
    done: bool = Field(description="False: it is noted, and done once MLflow answers.")
    note: str
    request_id: str


class ModelVersionTold(BaseModel):
    """A registered version."""

    version: str
    recommender: str | None
    trained_at: str | None
    aliases: list[str]
    metrics: dict[str, float] = Field(description="Of its training run, on the past.")
    tags: dict[str, str]
    run_id: str
    has_snapshot: bool = Field(description="False: nothing could serve it.")
    refused: str | None = Field(description="Why the gate did not let it go live.")
    withdrawn: str | None = Field(description="Why it was rolled back; it needs `force` now.")


class ModelList(BaseModel):
    """Versions, the newest first."""

    versions: list[ModelVersionTold]
    champion: str | None
    challenger: str | None
    previous: str | None = Field(description="What a rollback would put back.")
    request_id: str


MOVED = (
    Answer("It is live", Moved),
    Answer("It is noted, and will be done", Moved, status=202),
)
endpoints = Endpoints(tag="admin", scope="admin", problems=(503,))


class ModelCalls:
    def __init__(self, settings: Settings, database: Database, versions: VersionList) -> None:
        self._settings = settings
        self._database = database
        self._versions = versions
        self._moving = asyncio.Lock()
        self._running: set[asyncio.Future[Any]] = set()

    @endpoints.declare(
        "GET /api/v1/admin/models",
        Answer("The versions", ModelList),
        audited=False,
        compressed=True,
    )
    async def find_models(self, request: Request) -> Response:
        """Every version of the model."""
        try:
            listing = await self._versions.read()
        except RegistryAway as error:
            return problem(request, 503, f"{error}. Try again.", headers={"Retry-After": "5"})
        rows = await self._database.run(records.withdrawn)
        withdrawn = {row["version"]: row["reason"] for row in rows}
        previous = listing.previous(set(withdrawn))
        return answer_json(
            request,
            {
                "versions": [described(version, withdrawn) for version in listing.versions],
                "champion": listing.champion and listing.champion.version,
                "challenger": listing.challenger and listing.challenger.version,
                "previous": previous and previous.version,
            },
        )

    @endpoints.declare(
        "POST /api/v1/admin/models/{version:number}/activate",
        *MOVED,
        parameters=[path_id("version", "The version's number.")],
        body=Body(Activate, {"reason": "better for new users"}, required=False),
        problems=(404, 409),
    )
    async def activate_model(self, request: Request) -> Response:
        """Make a version the champion.

        Every worker serves it within seconds, and no request fails.
        """
        body = await asked(Activate, request)
        return await self._in_time(request, self._activate(request, body))

    async def _activate(self, request: Request, body: Activate) -> dict[str, Any]:
        version = str(request.path_params["version"])
        registry = await self._known()
        # Of many versions, and while MLflow is away, the command says it.
        missing = (
            registry is not None
            and len(registry.versions) < MOST
            and all(other.version != version for other in registry.versions)
        )
        if missing:
            raise not_found("version", version)
        if not body.force:
            rows = await self._database.run(records.withdrawn)
            for row in rows:
                if row["version"] == version:
                    raise HTTPException(
                        409,
                        f"Version {version} was withdrawn by {row['actor']} ({row['reason']}). "
                        "With `force` it goes live all the same.",
                    )
        force = ["--force"] if body.force else []
        return await self._moved("activate", version, *_why(request, body), *force)

    @endpoints.declare(
        "POST /api/v1/admin/models/rollback",
        *MOVED,
        body=Body(Rollback, {"reason": "complaints", "expected": "12"}, required=False),
        problems=(409,),
    )
    async def roll_back_model(self, request: Request) -> Response:
        """Put the previous champion back, and withdraw the live version.

        Nothing promotes the withdrawn version again. While MLflow is away it is noted, workers stop
        serving that version, and the move is made up for later.
        """
        body = await asked(Rollback, request)
        return await self._in_time(request, self._roll_back(request, body))

    async def _roll_back(self, request: Request, body: Rollback) -> dict[str, Any]:
        registry = await self._known()
        live = (registry.aliases or {}).get(CHAMPION) if registry is not None else None
        if registry is not None and body.expected not in (None, live):
            is_live = f"version {live} is" if live else "none is"
            raise HTTPException(409, f"Version {body.expected} is not live, {is_live}.")
        # What was live when it was asked for: of two who ask at once, one goes back by one.
        goes = body.expected or live
        if goes is None and self._moving.locked():
            raise HTTPException(
                409, "A version is being moved right now: look again, or say which is `expected`."
            )
        expected = [f"--expected={goes}"] if goes else []
        return await self._moved("rollback", *_why(request, body), *expected)

    async def _known(self) -> Listing | None:
        """What is refused anyhow is refused at once: the command takes seconds to say it."""
        try:
            return await self._versions.read()
        except RegistryAway:
            return None

    async def _in_time(self, request: Request, move: Awaitable[dict[str, Any]]) -> Response:
        """The answer: looks and move together have one deadline."""
        moved = await in_time(move, self._running)
        if isinstance(moved, Unfinished):
            return answer_json(request, {"done": False, "note": GOES_ON}, 202)
        return answer_json(request, moved, 200 if moved["done"] else 202)

    async def _moved(self, *arguments: str) -> dict[str, Any]:
        """What the command says; one after the other.

        Raises:
            HTTPException: nothing moved, and why.
        """
        async with self._moving:
            done = await asyncio.to_thread(self._run, arguments)
        try:
            answer = json.loads(done.stdout.strip().splitlines()[-1])
        except (ValueError, IndexError):
            lines = done.stderr.strip().splitlines()
            raise RuntimeError(
                f"going_live.releases {arguments[0]} ended with {done.returncode}: "
                f"{lines[-1] if lines else 'no message'}"
            ) from None
        if "error" in answer:
            raise HTTPException(STATUS[answer["error"]], answer["message"])
        return answer

    def _run(self, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "going_live.releases", *arguments],
            cwd=ROOT,
            env=settings_environment(self._settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MOVE_SECONDS,
            check=False,
        )


def described(version: Version, withdrawn: dict[str, str]) -> dict[str, Any]:
    """A version as the calls tell it."""
    tags = version.tags
    return {
        "version": version.version,
        "recommender": tags.get("recommender"),
        "trained_at": tags.get("trained_at"),
        "aliases": list(version.aliases),
        "metrics": dict(version.metrics),
        "tags": dict(tags),
        "run_id": version.run_id,
        "has_snapshot": "snapshot_artifact" in tags,
        "refused": tags.get("refused"),
        "withdrawn": withdrawn.get(version.version),
    }


def _why(request: Request, body: Asked) -> list[str]:
    # With = : a name may begin with a dash.
    return [f"--actor={actor_of(request)}", f"--reason={body.reason}"]
