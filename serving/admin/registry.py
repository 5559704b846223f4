"""Every version that MLflow holds, by its REST API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx

from models.versions.version import CHALLENGER, CHAMPION, HISTORY_TAG, RegistryAway
from storage.registry import rest

LOOK_SECONDS = 1.5
MOST = 100
LOOK_BACK = 5
"""Earlier champions that are listed, however long ago they were registered."""
METRICS_KEPT_SECONDS = 60.0
METRICS_SECONDS = 0.7
"""What runs measured is waited for so long: each is a question of its own."""
AT_ONCE = 8


@dataclass(frozen=True)
class Version:
    """One registered version; ``metrics`` are those of its training run."""

    version: str
    run_id: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Listing:
    """
    Attributes:
        versions: the newest first: the last ``MOST``, those that an alias names, and the last
            champions.
        aliases: alias -> version.
        history: versions that were champion, oldest first.
    """

    versions: tuple[Version, ...] = ()
    aliases: Mapping[str, str] | None = None
    history: tuple[str, ...] = ()

    def named(self, alias: str) -> Version | None:
        number = (self.aliases or {}).get(alias)
        return next((version for version in self.versions if version.version == number), None)

    @property
    def champion(self) -> Version | None:
        return self.named(CHAMPION)

    @property
    def challenger(self) -> Version | None:
        return self.named(CHALLENGER)

    def previous(self, withdrawn: set[str]) -> Version | None:
        """The version that a rollback would put back, as far as one can tell beforehand."""
        live = self.champion
        there = {version.version: version for version in self.versions}
        history = list(self.history)
        if live is not None and live.version in history:
            last = len(history) - history[::-1].index(live.version)
            history = history[:last]
        for number in reversed(history):
            if number in there and number not in withdrawn and there[number] != live:
                return there[number]
        return None


class VersionList:
    """The registered model ``name`` of the MLflow server at ``address``."""

    def __init__(self, address: str, name: str) -> None:
        self._name = name
        self._client = httpx.AsyncClient(base_url=address + rest.PATH, timeout=LOOK_SECONDS)
        self._metrics: dict[str, tuple[float, dict[str, float]]] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def read(self) -> Listing:
        """All of it, now.

        Raises:
            RegistryAway: no answer within ``LOOK_SECONDS``.
        """
        with rest.asking():
            async with asyncio.timeout(LOOK_SECONDS):
                return await self._read()

    async def _read(self) -> Listing:
        model = await self._get("registered-models/get", name=self._name)
        if model is None:
            return Listing()
        answer = await self._get(
            "model-versions/search",
            filter=f"name='{self._name}'",
            order_by="version_number DESC",
            max_results=MOST,
        )
        rows = (answer or {}).get("model_versions") or []
        registered = model["registered_model"]
        aliases = {a["alias"]: str(a["version"]) for a in registered.get("aliases") or []}
        history = json.loads(rest.tags_of(registered.get("tags")).get(HISTORY_TAG, "[]"))
        older = {*aliases.values(), *history[-LOOK_BACK:]} - {str(row["version"]) for row in rows}
        named = await asyncio.gather(
            *(self._get("model-versions/get", name=self._name, version=number) for number in older)
        )
        rows = rows + [version["model_version"] for version in named if version is not None]
        metrics = await self._metrics_of([row.get("run_id", "") for row in rows])
        versions = (
            Version(
                version=str(row["version"]),
                run_id=row.get("run_id", ""),
                aliases=tuple(sorted(a for a, v in aliases.items() if v == str(row["version"]))),
                tags=rest.tags_of(row.get("tags")),
                metrics=numbers,
            )
            for row, numbers in zip(rows, metrics, strict=True)
        )
        newest_first = sorted(versions, key=lambda version: int(version.version), reverse=True)
        return Listing(tuple(newest_first), aliases, tuple(history))

    async def _metrics_of(self, run_ids: list[str]) -> list[Mapping[str, float]]:
        """Of runs that are over, so they hardly change. What is not there in time is left out,
        and there at the next look."""
        now = time.monotonic()
        for run_id in {*run_ids} - {""} - self._asking.keys():
            kept = self._metrics.get(run_id)
            if kept is None or now - kept[0] > METRICS_KEPT_SECONDS:
                task = asyncio.create_task(self._ask_metrics(run_id))
                self._asking[run_id] = task
                task.add_done_callback(partial(self._asked, run_id))
        waiting = [self._asking[run_id] for run_id in run_ids if run_id in self._asking]
        if waiting:
            await asyncio.wait(waiting, timeout=METRICS_SECONDS)
        return [self._metrics[id][1] if id in self._metrics else {} for id in run_ids]

    def _asked(self, run_id: str, _: asyncio.Task[None]) -> None:
        del self._asking[run_id]

    async def _ask_metrics(self, run_id: str) -> None:
        try:
            with rest.asking():
                async with self._turns:
                    numbers = rest.metrics_of(await self._get("runs/get", run_id=run_id))
        except RegistryAway:
            return  # a version is listed without them
        if len(self._metrics) > 3 * MOST:
            self._metrics.clear()
        self._metrics[run_id] = time.monotonic(), numbers

    async def _get(self, path: str, **parameters: Any) -> dict[str, Any] | None:
        """The answer; None: there is no such thing."""
        return rest.answer_of(await self._client.get(path, params=parameters))
