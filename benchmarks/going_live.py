"""Going live, end to end: users who click by known preferences, on everything that `up` starts.

Three acts, over real HTTP. A first champion has learnt from clicks that mean nothing. A challenger
that has learnt from what the users like gets half of them in an experiment, wins, and becomes the
champion by itself. Then somebody forces a version live whose scores are inverted: the guardrails
find it, and it is rolled back by itself. What is due every ten minutes is started every few
seconds here, or the benchmark would mostly wait; sensors run as always.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np

from benchmarks.common import report
from benchmarks.common.installation import Installation, folder_for
from benchmarks.common.report import BenchmarkError, Row, log
from gateway.dagster_client import DagsterAway, DagsterClient

TAGS = 10
LOVED = 2  # tags that a user likes
CLICKS_LOVED, CLICKS_OTHER = 0.45, 0.04  # chance that an item is clicked once it is looked at
PAGE = 10
SESSIONS_AT_ONCE = 3
STARTED_EVERY = 30.0  # seconds between two looks of the guardrails and the experiments
UP_SECONDS = 600.0
WAIT_SECONDS = 600.0


class World:
    """Users, items, and who likes what."""

    def __init__(self, users: int, items: int) -> None:
        self.rng = np.random.default_rng(0)
        self.users = [f"u{n:05}" for n in range(users)]
        self.items = [f"i{n:05}" for n in range(items)]
        self.tag = self.rng.integers(0, TAGS, items)
        self.row = {item: n for n, item in enumerate(self.items)}
        self.likes = np.zeros((users, TAGS), bool)
        for liked in self.likes:
            liked[self.rng.choice(TAGS, LOVED, replace=False)] = True

    def chances(self, user: int, items: Sequence[str]) -> np.ndarray:
        """Of a click on each item of a page: looked at less, further down."""
        tags = self.tag[[self.row[item] for item in items]]
        liked = np.where(self.likes[user][tags], CLICKS_LOVED, CLICKS_OTHER)
        return liked / (1 + 0.1 * np.arange(len(items)))

    def write(self, folder: Path, clicks: int, *, mean: bool, days: tuple[float, float]) -> None:
        """A log of so many clicks, between so many days ago; ``mean``: by what users like."""
        folder.mkdir()
        users = self.rng.integers(0, len(self.users), clicks * 8)
        items = self.rng.integers(0, len(self.items), clicks * 8)
        liked = self.likes[users, self.tag[items]] if mean else self.rng.random(len(users)) < 0.2
        kept = self.rng.random(len(users)) < np.where(liked, CLICKS_LOVED, CLICKS_OTHER)
        users, items = users[kept][:clicks], items[kept][:clicks]
        ages = self.rng.uniform(*days, len(users))
        now = datetime.now(UTC)
        _csv(
            folder / "interactions.csv",
            ("event_id", "user_id", "item_id", "type", "occurred_at"),
            (
                (uuid4(), self.users[u], self.items[i], "click",
                 (now - timedelta(days=age)).isoformat())
                for u, i, age in zip(users, items, ages, strict=True)
            ),
        )  # fmt: skip
        _csv(
            folder / "items.csv",
            ("id", "title", "tags", "created_at"),
            (
                (item, f"Item {item}", f"t{tag}", (now - timedelta(days=90)).isoformat())
                for item, tag in zip(self.items, self.tag, strict=True)
            ),
        )


@dataclass
class Seen:
    """What was shown and clicked of one version by one variant."""

    impressions: int = 0
    clicks: int = 0
    first: float = 0.0
    last: float = 0.0

    @property
    def ctr(self) -> float:
        return self.clicks / max(self.impressions, 1)


class Crowd:
    """Sessions of random users, several at once: a page, what is looked at, what is clicked.

    Attributes:
        seen: by (variant, model version).
        failed: answers that were not 200, and pages without items.
        slowest: seconds of the slowest feed.
    """

    def __init__(self, world: World, url: str) -> None:
        self._world, self._url = world, url
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.seen: dict[tuple[str, str | None], Seen] = {}
        self.failed = self.pages = 0
        self.slowest = 0.0
        self._threads = [
            threading.Thread(target=self._visit, args=(seed,), daemon=True)
            for seed in range(SESSIONS_AT_ONCE)
        ]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self.seen = {}

    def of(self, version: str) -> Seen:
        """What was shown of a version, by whatever variant."""
        with self._lock:
            mine = [seen for (_, shown), seen in self.seen.items() if shown == version]
        return Seen(
            sum(part.impressions for part in mine),
            sum(part.clicks for part in mine),
            min((part.first for part in mine), default=0.0),
            max((part.last for part in mine), default=0.0),
        )

    def together(self) -> Seen:
        with self._lock:
            return Seen(
                sum(part.impressions for part in self.seen.values()),
                sum(part.clicks for part in self.seen.values()),
            )

    def _visit(self, seed: int) -> None:
        rng = np.random.default_rng(seed + 1)
        with httpx.Client(base_url=self._url, timeout=10) as http:
            while not self._over.is_set():
                try:
                    self._session(http, rng)
                except httpx.HTTPError as error:
                    log.info("a session failed: %r", error)
                    with self._lock:
                        self.failed += 1

    def _session(self, http: httpx.Client, rng: np.random.Generator) -> None:
        user = int(rng.integers(len(self._world.users)))
        name = self._world.users[user]
        start = time.monotonic()
        answer = http.get("/api/v1/feed", params={"user_id": name, "limit": PAGE})
        seconds = time.monotonic() - start
        page = answer.json() if answer.status_code == 200 else {"items": []}
        items = [item["item_id"] for item in page["items"]]
        clicked = rng.random(len(items)) < self._world.chances(user, items)
        at = datetime.now(UTC).isoformat()
        events = [
            {
                "event_id": str(uuid4()),
                "user_id": name,
                "item_id": item,
                "type": type,
                "occurred_at": at,
                "metadata": {"feed_id": page["feed_id"]},
            }
            for item, hit in zip(items, clicked, strict=True)
            for type in (["impression", "click"] if hit else ["impression"])
        ]
        taken = http.post("/api/v1/interactions", json={"interactions": events}) if events else None
        now = time.monotonic()
        with self._lock:
            self.pages += 1
            self.slowest = max(self.slowest, seconds)
            if taken is None or taken.status_code != 202:
                self.failed += 1
                return
            seen = self.seen.setdefault((page["variant"], page["model_version"]), Seen(first=now))
            seen.impressions += len(items)
            seen.clicks += int(np.sum(clicked))
            seen.last = now


class Trial(Installation):
    """What the three acts ask of an installation."""

    def live(self) -> str | None:
        """The version that is champion."""
        live = self.call("GET", "status")["live"]
        return live and live["version"]

    def challenger(self) -> str:
        """The version on trial.

        Raises:
            BenchmarkError: there is none.
        """
        deadline = time.monotonic() + 30
        while (challenger := self.call("GET", "status")["challenger"]) is None:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"no challenger: {self.call('GET', 'models')}")
            time.sleep(1)
        return challenger["version"]

    def start_job(self, job: str) -> None:
        """As Dagster's launchpad does."""

        async def launch() -> None:
            async with DagsterClient(self.dagster) as dagster:
                await dagster.launch(job, {})

        try:
            asyncio.run(launch())
        except DagsterAway as error:
            raise BenchmarkError(f"job {job}: {error}") from error

    def _tell(self) -> None:
        """Log what the newest look at the guardrails found."""
        for entry in self.call("GET", "guardrails?limit=3")["reports"]:
            report_of = entry["variant"], entry["model_version"], entry["status"]
            log.info("%s %s: %s, %s", *report_of, entry["detail"]["reason"])

    def until_live(self, version: str, crowd: Crowd, *jobs: str) -> float:
        """Start the jobs from time to time until the version is live. Returns seconds.

        Raises:
            BenchmarkError: it does not go live.
        """
        start, next_look = time.monotonic(), 0.0
        while self.live() != version:
            if time.monotonic() - start > WAIT_SECONDS:
                raise BenchmarkError(f"version {version} did not go live: {crowd.seen}")
            if time.monotonic() > next_look:
                for job in jobs:
                    self.start_job(job)
                self._tell()
                next_look = time.monotonic() + STARTED_EVERY
            time.sleep(0.5)
        return time.monotonic() - start


def measure(users: int, items: int, clicks: int, seconds: float, workers: int) -> list[Row]:
    """The three acts.

    Raises:
        BenchmarkError: one of them does not end as it should; all that was started is stopped.
    """
    world = World(users, items)
    with _running(workers) as installation:
        world.write(installation.home / "noise", clicks, mean=False, days=(20, 30))
        world.write(installation.home / "taste", clicks, mean=True, days=(0.1, 15))
        installation.run("load", str(installation.home / "noise"))
        log.info("starting everything; the first champion learns from noise")
        installation.run("up", "--detach", "--no-sample")
        with Crowd(world, installation.feed) as crowd:
            time.sleep(seconds)
            first = crowd.of("1")
            log.info("version 1: CTR %.3f", first.ctr)
            rows = _good(installation, crowd)
            rows += _bad(installation, crowd, seconds)
            rows += [
                Row("pages answered", float(crowd.pages), "pages"),
                Row("requests that failed", float(crowd.failed), "requests",
                    "all pages", float(crowd.pages)),
                Row("slowest page", crowd.slowest * 1e3, "ms"),
            ]  # fmt: skip
    return rows


def _good(installation: Trial, crowd: Crowd) -> list[Row]:
    """A better challenger is tried on half of the users, wins, and goes live by itself."""
    installation.run("load", str(installation.home / "taste"))
    installation.run("train")
    version = installation.challenger()
    installation.call(
        "POST",
        "experiments",
        {
            "id": "taste",
            "share": 1.0,
            "winner_takes_all": True,
            "arms": [
                {"name": "old", "ranked_by": "champion"},
                {"name": "new", "ranked_by": "challenger"},
            ],
        },
    )
    crowd.forget()
    installation.call("POST", "experiments/taste/start", {})
    waited = installation.until_live(version, crowd, "experiments")
    old, new, all_shown = crowd.of("1"), crowd.of(version), crowd.together()
    log.info("version %s is live after %.0f s; CTR %.3f, %.3f", version, waited, new.ctr, old.ctr)
    return [
        Row("good: seconds to promotion", waited, "s"),
        Row("good: impressions of the challenger until then", float(new.impressions),
            "impressions", "of the champion", float(old.impressions)),
        Row("good: CTR of the challenger", new.ctr, "", "CTR of the champion", old.ctr),
        Row("good: CTR that all saw meanwhile", all_shown.ctr, "", "CTR of the champion", old.ctr),
    ]  # fmt: skip


def _bad(installation: Trial, crowd: Crowd, seconds: float) -> list[Row]:
    """A version with inverted scores is forced live, and goes by itself."""
    good = installation.live()
    assert good is not None
    crowd.forget()
    time.sleep(seconds)
    before = crowd.of(good)
    bad = json.loads(
        installation.run("register", good, module="benchmarks.parts.inverted").splitlines()[-1]
    )
    crowd.forget()
    forced = {"force": True, "reason": "somebody means well"}
    installation.call("POST", f"models/{bad}/activate", forced)
    installation.until_live(bad, crowd)
    waited = installation.until_live(good, crowd, "guardrails")
    decided = time.monotonic()
    time.sleep(6)
    hurt, all_shown = crowd.of(bad), crowd.together()
    noted = [line["action"] for line in installation.call("GET", "audit?limit=100")["lines"]]
    if not any("roll" in action for action in noted):
        raise BenchmarkError(f"the audit log does not know of a rollback: {noted}")
    log.info("version %s is gone after %.0f s; CTR %.3f, %.3f", bad, waited, hurt.ctr, before.ctr)
    return [
        Row("bad: seconds from activation to rollback", waited, "s"),
        Row("bad: impressions of the bad version until then", float(hurt.impressions),
            "impressions"),
        Row("bad: seconds from the rollback to the last page of the bad version",
            max(hurt.last - decided, 0.0), "s", "limit", 5.0),
        Row("bad: CTR of the bad version", hurt.ctr, "", "CTR of the good one", before.ctr),
        Row("bad: CTR that all saw meanwhile", all_shown.ctr, "", "CTR of the good one",
            before.ctr),
    ]  # fmt: skip


@contextmanager
def _running(workers: int) -> Iterator[Trial]:
    """An empty installation; what runs in it is stopped and removed at the end."""
    changes = {
        "gate": {"promote": "challenger"},
        # nothing else may train meanwhile
        "retraining": {"min_new_interactions": 10**9},
        "drift": {"min_rows": 10**9},
        "serving": {"reuse_seconds": 0},
    }
    with folder_for("going-live", "social", changes) as home:
        installation = Trial(home, workers)
        try:
            yield installation
        finally:
            installation.run("down")


def _csv(path: Path, header: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(str(__doc__), users=400, items=400, interactions=20_000, seconds=15)
    parser.add_argument("--workers", type=int, default=2, help="workers")
    given = parser.parse_args(arguments)
    return report.run(
        "going_live",
        lambda: measure(given.users, given.items, given.interactions, given.seconds, given.workers),
    )


if __name__ == "__main__":
    sys.exit(main())
