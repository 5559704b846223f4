"""No answer ever holds an item that a rule excludes, whoever asks and whatever ranks.

An oracle in plain Python says of each item what may be shown to whom. It shares no code with
the rules that it judges.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import sparse

from models.catalogue.building import Catalogue, ModelInfo, Vectors, build_snapshot
from models.catalogue.changes import Changes, ItemRow, UserRow
from models.catalogue.snapshots.snapshot import Snapshot
from models.data.ids import IdIndex
from models.data.interactions.matrices import InteractionMatrix
from models.data.similarities import Neighbours
from models.profile.schema import load_profile
from storage.settings import Settings
from tests.conftest import TEMPLATE, url_of
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow

NOW = time.time()
HOURS = 3600.0
TAGS = ["art", "books", "games", "music"]
OWNERS = ["ana", "bob", "cem"]
USERS = [*OWNERS, "dana"]
LATE = ["late0", "late1"]  # users and items that the model does not know
ITEMS = [f"i{n:02}" for n in range(48)]
RADIUS_KM = 6371.0
BLUR_KM = 0.1  # columns are float32
PROFILE = load_profile("marketplace")


@dataclass
class World:
    """What there is, as the oracle sees it."""

    items: dict[str, ItemRow] = field(default_factory=dict)
    users: dict[str, UserRow] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    applied: dict[str, set[str]] = field(default_factory=dict)

    def may(
        self,
        item_id: str,
        user_id: str | None,
        *,
        place: tuple[float, float] | None = None,
        exclude_seen: bool = False,
        exclude_applied: bool = False,
    ) -> bool:
        item, user = self.items.get(item_id), self.users.get(user_id or "")
        if item is None or item.status != "published":
            return False
        if item.publish_at is not None and item.publish_at > NOW:
            return False
        if item.starts_at is not None and item.starts_at < NOW:
            return False
        taken = sum(item_id in theirs for theirs in self.applied.values())
        if item.capacity is not None and taken >= item.capacity:
            return False
        if user_id is not None and item.owner_id == user_id:
            return False
        if exclude_seen and item_id in self.seen.get(user_id or "", ()):
            return False
        if exclude_applied and item_id in self.applied.get(user_id or "", ()):
            return False
        if user is None:
            return True
        if item.owner_id in user.blocked_owners or set(item.tags) & set(user.blocked_tags):
            return False
        prices = [price for price in (item.price_min, item.price_max) if price is not None]
        if user.price_min is not None and prices and max(prices) < user.price_min:
            return False
        if user.price_max is not None and prices and min(prices) > user.price_max:
            return False
        here = place or (user.lat, user.lon)
        if user.max_distance_km is None or here[0] is None or item.lat is None:
            return True
        return distance_km(here, (item.lat, item.lon)) <= user.max_distance_km + BLUR_KM


def distance_km(here: tuple[Any, Any], there: tuple[Any, Any]) -> float:
    """The spherical law of cosines."""
    one, other = math.radians(here[0]), math.radians(there[0])
    east = math.radians(there[1] - here[1])
    cosine = math.sin(one) * math.sin(other) + math.cos(one) * math.cos(other) * math.cos(east)
    return RADIUS_KM * math.acos(max(-1.0, min(1.0, cosine)))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


LATS, LONS = st.sampled_from([46.0, 46.1, 46.4, 47.0, 48.0]), st.sampled_from([23.0, 23.3, 24.0])
PRICES = st.sampled_from([5.0, 20.0, 80.0])
TIMES = maybe(st.sampled_from([NOW - 48 * HOURS, NOW + 48 * HOURS]))


@st.composite
def item_rows(draw: st.DrawFn, id: str) -> ItemRow:
    placed = draw(st.booleans())
    return ItemRow(
        id=id,
        owner_id=draw(maybe(st.sampled_from(OWNERS))),
        tags=draw(st.lists(st.sampled_from(TAGS), max_size=2, unique=True)),
        category=draw(maybe(st.sampled_from(["home", "work"]))),
        city=None,
        lat=draw(LATS) if placed else None,
        lon=draw(LONS) if placed else None,
        price_min=draw(maybe(PRICES)),
        price_max=draw(maybe(PRICES)),
        status=draw(st.sampled_from(["published", "published", "published", "draft", "removed"])),
        capacity=draw(st.sampled_from([None, None, 0, 1, 100])),
        created_at=NOW - 72 * HOURS * draw(st.floats(0, 1)),
        publish_at=draw(TIMES),
        starts_at=draw(TIMES),
    )


@st.composite
def user_rows(draw: st.DrawFn, id: str) -> UserRow:
    placed = draw(st.booleans())
    some_tags = st.lists(st.sampled_from(TAGS), max_size=2, unique=True)
    return UserRow(
        id=id,
        lat=draw(LATS) if placed else None,
        lon=draw(LONS) if placed else None,
        city=None,
        tags=draw(some_tags),
        max_distance_km=draw(maybe(st.sampled_from([1.0, 30.0, 100.0]))),
        price_min=draw(maybe(PRICES)),
        price_max=draw(maybe(PRICES)),
        preferred_tags=draw(some_tags),
        blocked_tags=draw(some_tags),
        blocked_owners=draw(st.lists(st.sampled_from(OWNERS), max_size=1)),
        personalization_enabled=draw(st.sampled_from([True, True, True, False])),
    )


def first_world() -> World:
    """Items of every kind, drawn once: plain ones are half, so that feeds are not empty."""
    rng = np.random.default_rng(7)

    def one(values: list[Any]) -> Any:
        return values[rng.integers(len(values))]

    world = World()
    for n, id in enumerate(ITEMS):
        odd = n % 2 == 1
        placed = rng.random() < 0.8
        world.items[id] = ItemRow(
            id=id,
            owner_id=one([None, *OWNERS]),
            tags=sorted({one(TAGS), one(TAGS)}),
            category=one(["home", "work"]),
            city=None,
            lat=one([46.0, 46.1, 46.4, 47.0]) if placed else None,
            lon=one([23.0, 23.3, 24.0]) if placed else None,
            price_min=one([None, 5.0, 20.0]),
            price_max=one([None, 20.0, 80.0]),
            status=one(["draft", "removed", "published"]) if odd else "published",
            capacity=one([None, 0, 1, 2]) if odd else None,
            created_at=NOW - 240 * HOURS * rng.random(),
            publish_at=one([None, NOW + 48 * HOURS, NOW - 48 * HOURS]) if odd else None,
            starts_at=one([None, NOW - 48 * HOURS, NOW + 48 * HOURS]) if odd else None,
        )
    for user in USERS:
        world.seen[user] = {str(id) for id in rng.choice(ITEMS, 12, replace=False)}
        plain = [id for id in sorted(world.seen[user]) if id in ITEMS[::2]]
        world.applied[user] = set(plain[:5])
        world.users[user] = UserRow(
            user, 46.0, 23.0, None, ["art"], None, None, None, [], [], [], True
        )
    return world


def snapshot_of(world: World) -> Snapshot:
    rng = np.random.default_rng(1)
    user_ids, item_ids = IdIndex.of(USERS), IdIndex.of(ITEMS)

    def matrix(pairs: dict[str, set[str]]) -> sparse.csr_array:
        made = np.zeros((len(USERS), len(ITEMS)), np.float32)
        for user, items in pairs.items():
            row = user_ids.find(user)
            assert row is not None
            made[row, item_ids.indices(pl.Series(sorted(items)))] = 1
        return sparse.csr_array(made)

    def neighbours(rows: int, k: int) -> Neighbours:
        others = rng.integers(0, rows, (rows, k)).astype(np.int32)
        return Neighbours(others, rng.random((rows, k), dtype=np.float32))

    def moments(name: str) -> pl.Series:
        values = [getattr(item, name) for item in world.items.values()]
        times = [None if value is None else datetime.fromtimestamp(value, UTC) for value in values]
        return pl.Series(times, dtype=pl.Datetime("us", "UTC"))

    items = pl.DataFrame([item._asdict() for item in world.items.values()]).with_columns(
        **{name: moments(name) for name in ("created_at", "publish_at", "starts_at")}
    )
    users = pl.DataFrame([user._asdict() for user in world.users.values()])
    trending = rng.random(len(ITEMS))
    return build_snapshot(
        Catalogue(
            users=users.select("id", "lat", "lon", pl.col("city").cast(pl.String), "tags"),
            items=items.with_columns(pl.col("city").cast(pl.String)),
            owners=pl.DataFrame(
                {
                    "id": OWNERS,
                    "average_rating": [4.0, 5.0, None],
                    "completion_rate": [0.5, 1.0, None],
                    "finished_jobs": [1, 20, None],
                }
            ),
            engagement=pl.DataFrame(
                {
                    "item_id": ITEMS,
                    "weighted": 50 * rng.random(len(ITEMS)),
                    "impressions": rng.integers(0, 150, len(ITEMS)),
                    "clicks": rng.integers(0, 20, len(ITEMS)),
                }
            ),
            trending=pl.DataFrame({"item_id": ITEMS, "score": trending}),
        ),
        InteractionMatrix(user_ids, item_ids, matrix(world.seen), matrix(world.applied)),
        PROFILE,
        now=datetime.now(UTC),
        vectors=Vectors(
            rng.normal(size=(len(USERS), 4)).astype(np.float32),
            rng.normal(size=(len(ITEMS), 4)).astype(np.float32),
            rng.random(len(ITEMS), dtype=np.float32),
        ),
        model=ModelInfo("1", "lightfm_hybrid", datetime.now(UTC) - timedelta(hours=1)),
        user_neighbours=neighbours(len(USERS), 3),
        item_neighbours=neighbours(len(ITEMS), 5),
        recent=(
            rng.integers(0, len(ITEMS), (len(USERS), 4)).astype(np.int32),
            np.full((len(USERS), 4), 5, np.int8),
        ),
    )


class Place:
    """The world and a worker that serves it, kept the same."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.world = first_world()
        worker.publish("2", snapshot_of(self.world))
        worker.wait_for(lambda: worker.app.live.state.model_version == "2")
        catalogue = worker.app.live.state.catalogue
        assert catalogue is not None
        self.live = catalogue.live
        rows = np.arange(len(ITEMS), dtype=np.int32)[::-1]
        scores = np.linspace(1, 0.1, len(ITEMS), dtype=np.float32)
        self._in_loop(self.live.set_trending, {24: (rows, scores)})

    def change(
        self, items: list[ItemRow], users: list[UserRow], removed: list[str] | None = None
    ) -> None:
        gone = removed or []
        changes = Changes("3:3:", items=items, users=users, removed_items=gone)
        self._in_loop(self.live.apply, changes)
        self.world.items |= {item.id: item for item in items}
        self.world.users |= {user.id: user for user in users}
        for item in gone:
            self.world.items.pop(item, None)

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        answer = self.worker.client.request(method, path, params=query or None, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _in_loop(self, call: Any, *arguments: Any) -> None:
        assert self.worker.client.portal is not None
        self.worker.client.portal.call(call, *arguments)


@pytest.fixture(scope="module")
def place(
    postgres_url: str, _server: psycopg.Connection, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    name = f"rules_{uuid4().hex}"
    _server.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    mlflow = FakeMlflow()
    settings = Settings(
        home=tmp_path_factory.mktemp("home"),
        database_url=url_of(postgres_url, name),
        mlflow_url=mlflow.url,
        model_poll_seconds=0.1,
    )
    with running_worker(settings, mlflow, "1") as worker:
        yield Place(worker)
    mlflow.close()
    _server.execute(f"DROP DATABASE {name} WITH (FORCE)")


FLAGS: list[dict[str, Any]] = [
    {"exclude_seen": seen, "exclude_applied": applied}
    for seen, applied in ((False, True), (True, False), (False, False))
]
WAYS: list[dict[str, Any]] = [
    {},
    {"variant": "heuristic"},
    {"sort": "time"},
    {"weights": "location:1,recency:3"},
    {"profile": "social"},
]


@seed(3)
@hypothesis_settings(
    max_examples=30,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_no_answer_breaks_a_rule(place: Place, data: st.DataObject) -> None:
    begun = first_world()
    users = [*USERS, LATE[0]]
    ids = data.draw(st.lists(st.sampled_from([*ITEMS, *LATE]), max_size=4, unique=True))
    removed = data.draw(st.lists(st.sampled_from([*ITEMS, *LATE]), max_size=2, unique=True))
    items = [data.draw(item_rows(id)) for id in ids]
    place.change(items, [data.draw(user_rows(id)) for id in users], removed)
    try:
        every_call(place, data)
    finally:
        place.change(list(begun.items.values()), list(begun.users.values()), LATE)


def every_call(place: Place, data: st.DataObject) -> None:
    user = data.draw(st.sampled_from([*USERS, LATE[0], "nobody", None]), label="user")
    who = {"user_id": user} if user else {}
    here = data.draw(maybe(st.tuples(LATS, LONS)), label="here")
    given_place = dict(zip(("lat", "lon"), here, strict=True)) if here else {}

    def check(items: list[dict[str, Any]], told: Any, viewer: str | None, **asked: Any) -> None:
        shown = [item["item_id"] for item in items]
        assert len(set(shown)) == len(shown), told
        for id in shown:
            assert place.world.may(id, viewer, **asked), (id, viewer, told)

    for way in WAYS:
        flags = data.draw(st.sampled_from(FLAGS), label="flags")
        page = place.ask("GET", "/api/v1/feed", **who, **given_place, **flags, **way, limit=5)
        check(page["items"], (way, page), user, place=here, **flags)
        if page["next"]:
            # A rule that is new holds for the next page of an old list.
            known = place.world.users.get(user or "")
            if known is not None:
                place.change([], [data.draw(user_rows(known.id))])
            page = place.ask("GET", page["next"])
            check(page["items"], (way, page), user, place=here, **flags)

    page = place.ask("GET", "/api/v1/feed/trending", **who, limit=100)
    check(page["items"], page, user)

    spot = here or (46.1, 23.3)
    body = {"lat": spot[0], "lon": spot[1], "radius_km": 500, "limit": 60}
    category = data.draw(maybe(st.sampled_from(["home", "work"])), label="category")
    page = place.ask("POST", "/api/v1/feed/nearby", {**body, **who, "category": category})
    check(page["items"], page, user, place=spot)
    for item in page["items"]:
        row = place.world.items[item["item_id"]]
        assert category in (None, row.category)
        km = distance_km(spot, (row.lat, row.lon))
        assert item["distance_km"] == pytest.approx(km, abs=BLUR_KM)

    published = [id for id, row in place.world.items.items() if row.status == "published"]
    start = data.draw(st.sampled_from(sorted(published)), label="similar to")
    page = place.ask("GET", f"/api/v1/feed/similar/{start}", **who, limit=60)
    check(page["items"], page, user)
    assert start not in {item["item_id"] for item in page["items"]}

    variant = data.draw(st.sampled_from(["champion", "heuristic", "time", None]), label="variant")
    asked_ids = [*ITEMS, *LATE]
    page = place.ask(
        "POST", "/api/v1/rank", {"item_ids": asked_ids, **who, **given_place, "variant": variant}
    )
    check(page["items"], page, user, place=here)
    shown = {item["item_id"] for item in page["items"]}
    assert shown == {id for id in asked_ids if place.world.may(id, user, place=here)}
    assert shown | {one["item_id"] for one in page["excluded"]} == set(asked_ids)

    everybody = [*USERS, LATE[0], "nobody"]
    flags = data.draw(st.sampled_from(FLAGS), label="flags")
    page = place.ask("POST", "/api/v1/recommend", {"user_ids": everybody, "limit": 50, **flags})
    for found in page["users"]:
        check(found["items"], found, found["user_id"], **flags)
