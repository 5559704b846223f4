"""Flags and experiments on the real application: who gets what, and what they are told."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from models.experiments.assignment import Arm, Experiment, Traffic
from models.profile.schema import load_profile
from serving.feed.plans import Plans
from serving.feed.shapes import FeedRequest
from serving.versions.live_state import LiveState
from storage.operations.experiments import Polled
from storage.postgres.database import connect
from storage.settings import Settings
from tests.serving.conftest import Worker, running_worker
from tests.serving.fake_mlflow import FakeMlflow
from tests.serving.worlds import PROFILE, make_snapshot

USERS = [f"u{n:04}" for n in range(30)]


def arm(name: str, ranked_by: str | None = None, **settings: Any) -> dict[str, Any]:
    return {"name": name, "weight": 1, "ranked_by": ranked_by, "settings": settings}


TRIAL = [arm("control"), arm("new", "challenger")]


@pytest.fixture
def sql(worker: Worker) -> Iterator[psycopg.Connection]:
    assert worker.settings.database_url is not None
    with connect(worker.settings.database_url, autocommit=True) as connection:
        yield connection


def run_experiment(
    sql: psycopg.Connection, arms: list[dict[str, Any]], id: str = "trial", **columns: Any
) -> None:
    row = {"id": id, "salt": id, "status": "running", "share": 1.0, "variants": Jsonb(arms)}
    row |= columns
    names = ", ".join(row)
    sql.execute(
        f"INSERT INTO feed.experiments ({names}) VALUES ({', '.join(['%s'] * len(row))})",
        tuple(row.values()),
    )


def end_experiments(sql: psycopg.Connection) -> None:
    sql.execute("UPDATE feed.experiments SET status = 'ended'")


def set_flag(sql: psycopg.Connection, name: str, enabled: bool, share: float = 1.0) -> None:
    sql.execute(
        "INSERT INTO feed.feature_flags (name, enabled, share) VALUES (%s, %s, %s)"
        " ON CONFLICT (name, environment) DO UPDATE SET enabled = excluded.enabled,"
        " share = excluded.share",
        (name, enabled, share),
    )


def withdraw(sql: psycopg.Connection, version: str) -> None:
    sql.execute(
        "INSERT INTO feed.withdrawn_versions (model_version, actor, reason) VALUES (%s, 'a', 'b')",
        (version,),
    )


def state_of(worker: Worker) -> LiveState:
    return worker.app.live.state


def on_trial(worker: Worker, version: str = "2") -> None:
    """Register a challenger, and wait until it is served."""
    make_snapshot(version).save(worker.settings.snapshots / version)
    worker.mlflow.challenger = version
    worker.wait_for(lambda: served_challenger(worker) == version)


def served_challenger(worker: Worker) -> str | None:
    one = state_of(worker).challenger
    return one.version if one else None


def ids(page: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in page["items"]]


def whole(worker: Worker, page: dict[str, Any]) -> list[str]:
    found = ids(page)
    while page["next"]:
        page = worker.client.get(page["next"]).json()
        found += ids(page)
    return found


def user_in(worker: Worker, name: str) -> str:
    traffic = worker.app.traffic.now.traffic
    # The first users own items: their feeds differ for that.
    return next(user for user in USERS[5:] if traffic.arms(user)["trial"].name == name)


def told(page: dict[str, Any]) -> tuple[str, str | None, str | None]:
    return page["variant"], page["model_version"], page["fallback_reason"]


def test_each_arm_is_ranked_as_it_says_and_both_are_told(
    worker: Worker, sql: psycopg.Connection
) -> None:
    plain = {user: worker.feed(user_id=user, limit=60) for user in USERS[5:]}
    assert all(page["experiments"] == {} for page in plain.values())
    run_experiment(sql, TRIAL)
    on_trial(worker)
    arms = set()
    for user, before in plain.items():
        page = worker.feed(user_id=user, limit=60)
        given = page["experiments"]["trial"]
        arms.add(given)
        if given == "new":
            assert told(page) == ("challenger", "2", None)
            assert ids(page) != ids(before)
        else:
            assert told(page) == ("champion", "1", None)
    assert arms == {"control", "new"}
    assert worker.feed()["experiments"] == {}, "anonymous"
    compared = worker.feed(user_id=USERS[7], variant="champion")
    assert (compared["experiments"], compared["variant"]) == ({}, "champion")


def test_what_a_user_does_is_told_with_their_arm(worker: Worker, sql: psycopg.Connection) -> None:
    run_experiment(sql, TRIAL)
    on_trial(worker)
    for name in ("new", "control"):
        user = user_in(worker, name)
        page = worker.feed(user_id=user)
        event_id = str(uuid4())
        event = {
            "event_id": event_id,
            "user_id": user,
            "item_id": page["items"][2]["item_id"],
            "type": "impression",
            "metadata": {"feed_id": page["feed_id"]},
        }
        sent = worker.client.post("/api/v1/interactions", json={"interactions": [event]})
        assert sent.status_code == 202, sent.text

        def kept(id: str = event_id) -> dict[str, Any] | None:
            row = sql.execute(
                "SELECT metadata FROM feed.interactions WHERE event_id = %s", (id,)
            ).fetchone()
            return None if row is None else row[0]

        worker.wait_for(partial(lambda found: found() is not None, kept))
        metadata = kept()
        assert metadata is not None
        assert metadata["experiments"] == {"trial": name}
        assert (metadata["variant"], metadata["position"]) == (page["variant"], 3)


def test_a_challenger_is_loaded_while_it_is_needed_and_no_longer(
    worker: Worker, sql: psycopg.Connection
) -> None:
    make_snapshot("2").save(worker.settings.snapshots / "2")
    worker.mlflow.challenger = "2"
    worker.wait_for(lambda: worker.mlflow.asked.count("champion") > 5)
    assert "challenger" not in worker.mlflow.asked
    run_experiment(sql, TRIAL)
    worker.wait_for(lambda: served_challenger(worker) == "2")
    user = user_in(worker, "new")
    assert worker.feed(user_id=user)["model_version"] == "2"
    challenger = state_of(worker).challenger
    assert challenger is not None
    gone = weakref.ref(challenger.catalogue.live)
    del challenger
    end_experiments(sql)
    worker.wait_for(lambda: served_challenger(worker) is None)
    assert told(worker.feed(user_id=user)) == ("champion", "1", None)

    def let_go() -> bool:
        gc.collect()
        return gone() is None

    worker.wait_for(let_go)


def test_a_feed_goes_on_as_it_began_when_the_challenger_comes_and_goes(
    worker: Worker, sql: psycopg.Connection
) -> None:
    asked = {"user_id": USERS[9], "limit": 7, "exclude_seen": False, "exclude_applied": False}
    sql.execute("UPDATE feed.experiments SET status = 'ended'")
    began = worker.feed(**asked)
    before = whole(worker, began)
    run_experiment(sql, [arm("new", "challenger")])
    on_trial(worker)
    second = worker.client.get(began["next"]).json()
    assert (second["variant"], second["experiments"]) == ("champion", {})
    assert whole(worker, began) == before
    tried = worker.feed(**asked)
    assert told(tried) == ("challenger", "2", None), "a new visit"
    after = whole(worker, tried)
    assert after != before
    end_experiments(sql)
    worker.wait_for(lambda: served_challenger(worker) is None)
    second = worker.client.get(tried["next"]).json()
    assert (second["variant"], second["experiments"]) == ("challenger", {"trial": "new"})
    assert whole(worker, tried) == after
    assert [ids(worker.feed(**asked, offset=offset)) for offset in (7, 14)] == [
        after[7:14],
        after[14:21],
    ]
    assert told(worker.feed(**asked)) == ("champion", "1", None)


def test_an_arm_whose_challenger_cannot_answer_gets_the_champion(
    worker: Worker, sql: psycopg.Connection
) -> None:
    run_experiment(sql, TRIAL, challenger_version="3")
    worker.wait_for(lambda: bool(worker.app.traffic.now.traffic.experiments))
    user = user_in(worker, "new")
    instead = ("champion", "1", "challenger_unavailable")
    assert told(worker.feed(user_id=user)) == instead, "there is none"
    assert worker.feed(user_id=user)["experiments"] == {"trial": "new"}
    on_trial(worker, "2")
    assert told(worker.feed(user_id=user)) == instead, "the experiment is about another"
    on_trial(worker, "3")
    assert told(worker.feed(user_id=user)) == ("challenger", "3", None)
    withdraw(sql, "3")
    worker.wait_for(lambda: told(worker.feed(user_id=user)) == instead)
    assert told(worker.feed(user_id=user_in(worker, "control"))) == ("champion", "1", None)
    worker.mlflow.version = None
    worker.wait_for(lambda: worker.fallback(user) == "no_model")
    assert worker.feed(user_id=user)["experiments"] == {"trial": "new"}


def test_a_challenger_that_is_asked_for_is_loaded_for_it(worker: Worker) -> None:
    make_snapshot("2").save(worker.settings.snapshots / "2")
    worker.mlflow.challenger = "2"
    asked = {"user_id": USERS[8], "variant": "challenger"}
    assert told(worker.feed(**asked)) == ("champion", "1", "challenger_unavailable")
    worker.wait_for(lambda: told(worker.feed(**asked)) == ("challenger", "2", None))
    assert told(worker.feed(user_id=USERS[8])) == ("champion", "1", None)
    assert told(worker.feed(variant="challenger")) == ("heuristic", None, "anonymous")


def test_changes_reach_the_challenger_too_and_a_promotion_keeps_them(
    worker: Worker, sql: psycopg.Connection
) -> None:
    run_experiment(sql, TRIAL)
    on_trial(worker)
    user = user_in(worker, "new")
    item = ids(worker.feed(user_id=user, limit=60))[0]
    sql.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " VALUES (gen_random_uuid(), %s, %s, 'dismiss', now())",
        (user, item),
    )
    worker.wait_for(lambda: item not in ids(worker.feed(user_id=user, limit=60)))
    sql.execute("INSERT INTO feed.items (id, title) VALUES ('brand new', 'Brand new')")
    worker.wait_for(lambda: "brand new" in whole(worker, worker.feed(user_id=user)))
    challenger = state_of(worker).challenger
    assert challenger is not None
    live = challenger.catalogue.live
    worker.mlflow.version, worker.mlflow.challenger = "2", None
    worker.wait_for(lambda: state_of(worker).model_version == "2")
    catalogue = state_of(worker).catalogue
    assert catalogue is not None
    assert catalogue.live is live, "in use already: nothing is loaded or counted twice"
    assert catalogue.source == "champion"
    control = worker.feed(user_id=user_in(worker, "control"))
    assert told(control) == ("champion", "2", None)
    worker.wait_for(lambda: served_challenger(worker) is None)
    assert told(worker.feed(user_id=user)) == ("champion", "2", "challenger_unavailable")
    assert item not in ids(worker.feed(user_id=user, limit=60))


def test_a_withdrawn_champion_is_not_served_though_mlflow_is_away(
    worker: Worker, sql: psycopg.Connection
) -> None:
    worker.publish("2")
    worker.wait_for(lambda: worker.feed(user_id=USERS[7])["model_version"] == "2")
    worker.mlflow.broken = True
    withdraw(sql, "2")
    worker.wait_for(
        lambda: told(worker.feed(user_id=USERS[7])) == ("heuristic", None, "model_withdrawn"), 2
    )
    assert "withdrawn" in worker.client.get("/api/v1/status").json()["detail"]
    ranked = worker.client.post(
        "/api/v1/rank", json={"user_id": USERS[7], "item_ids": ["i0001", "i0002"]}
    ).json()
    assert ranked["fallback_reason"] == "model_withdrawn"
    worker.mlflow.version, worker.mlflow.broken = "1", False
    worker.wait_for(lambda: told(worker.feed(user_id=USERS[7])) == ("champion", "1", None))
    worker.mlflow.version = "2"  # by hand, in MLflow
    worker.wait_for(lambda: worker.fallback(USERS[7]) == "model_withdrawn")
    sql.execute("DELETE FROM feed.withdrawn_versions")
    worker.wait_for(lambda: told(worker.feed(user_id=USERS[7])) == ("champion", "2", None))


def test_what_a_withdrawn_version_ranked_before_is_not_served_either(
    worker: Worker, sql: psycopg.Connection
) -> None:
    user = USERS[7]
    worker.publish("2")
    worker.wait_for(lambda: worker.feed(user_id=user)["model_version"] == "2")
    began = worker.feed(user_id=user, limit=7)
    of_another = worker.feed(user_id=user, limit=7, exclude_seen=True)
    withdraw(sql, "2")
    worker.wait_for(lambda: worker.fallback(user) == "model_withdrawn")
    second = worker.client.get(began["next"]).json()
    assert told(second) == ("heuristic", None, "model_withdrawn")
    assert second["items"][0]["rank"] == 8
    third = worker.client.get(second["next"]).json()
    assert third["feed_id"] == second["feed_id"] != began["feed_id"]
    shown = [*ids(began), *whole(worker, second)]
    assert len(shown) == len(set(shown)) == second["total"], "none is repeated, none is skipped"
    worker.mlflow.version = "1"
    worker.wait_for(lambda: told(worker.feed(user_id=user)) == ("champion", "1", None))
    second = worker.client.get(of_another["next"]).json()
    assert told(second) == ("champion", "1", None)
    shown = [*ids(of_another), *whole(worker, second)]
    assert len(shown) == len(set(shown)) == second["total"], "under another catalogue too"


def test_an_experiment_that_cannot_be_read_keeps_no_version_live(
    worker: Worker, sql: psycopg.Connection
) -> None:
    run_experiment(sql, [{"no": "name"}])
    withdraw(sql, "1")
    worker.wait_for(lambda: worker.fallback() == "model_withdrawn")


def test_a_worker_that_starts_after_a_withdrawal_knows_of_it(
    worker_settings: Settings, mlflow: FakeMlflow, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        withdraw(connection, "1")
    with running_worker(worker_settings, mlflow, "1") as worker:
        assert worker.fallback() == "model_withdrawn"


@pytest.mark.parametrize(
    ("flag", "variant", "same_for_all"),
    [
        ("ml_recommendations", "heuristic", False),
        ("personalized_feed", "heuristic", True),
        ("engagement_ranking", "time", True),
    ],
)
def test_a_flag_switches_off(
    worker: Worker, sql: psycopg.Connection, flag: str, variant: str, same_for_all: bool
) -> None:
    run_experiment(sql, TRIAL)
    first = worker.feed(user_id=USERS[7])
    set_flag(sql, flag, False)
    worker.wait_for(lambda: worker.fallback(USERS[7]) == "switched_off")
    here = {"lat": 38.9, "lon": -8.9, "exclude_seen": False, "exclude_applied": False}
    pages = [worker.feed(user_id=user, limit=5, **here) for user in USERS[5:]]
    assert {told(page) for page in pages} == {(variant, None, "switched_off")}
    assert all(page["experiments"] == {} for page in pages)
    orders = {
        tuple(sorted(item["item_id"] for item in page["items"] if not item["explored"]))
        for page in pages
    }
    assert (len(orders) < 5) == same_for_all, "new items are explored by chance"
    assert told(worker.feed(user_id=USERS[7], variant="champion")) == ("champion", "1", None)
    later = worker.client.get(first["next"]).json()
    assert later["variant"] == first["variant"], "a feed goes on as it began"
    set_flag(sql, flag, True)
    worker.wait_for(lambda: worker.fallback(USERS[7]) != "switched_off")


def test_a_flag_is_off_for_a_share_of_the_users_and_for_strangers(
    worker: Worker, sql: psycopg.Connection
) -> None:
    set_flag(sql, "ml_recommendations", True, 0.5)
    worker.wait_for(lambda: worker.app.traffic.now.traffic.flags["ml_recommendations"].share == 0.5)
    off = {user for user in USERS if worker.fallback(user) == "switched_off"}
    assert 3 < len(off) < 27
    assert worker.feed()["fallback_reason"] == "switched_off"
    set_flag(sql, "ml_recommendations", True, 0.9)
    worker.wait_for(lambda: worker.app.traffic.now.traffic.flags["ml_recommendations"].share == 0.9)
    assert {user for user in USERS if worker.fallback(user) == "switched_off"} <= off


def test_an_arm_changes_the_profile(worker: Worker, sql: psycopg.Connection) -> None:
    user = USERS[11]
    asked = {"user_id": user, "limit": 60}
    only_tags = dict.fromkeys(PROFILE.scorer_weights, 0) | {"tags": 1}
    exploration = {"share": 0}
    run_experiment(
        sql, [arm("tags", "heuristic", scorer_weights=only_tags, exploration=exploration)]
    )
    worker.wait_for(lambda: worker.feed(**asked)["experiments"] == {"trial": "tags"})
    page = worker.feed(**asked)
    assert told(page) == ("heuristic", None, None)
    tags = [item["components"]["tags"] for item in page["items"]]
    assert all(set(item["components"]) >= {"tags"} for item in page["items"])
    assert [item["recommendation_score"] for item in page["items"]] == pytest.approx(tags, abs=1e-3)
    assert worker.feed(**asked)["feed_id"] == page["feed_id"], "kept while nothing changed"
    end_experiments(sql)
    worker.wait_for(lambda: worker.feed(**asked)["experiments"] == {})
    # Settings that no longer fit the profile: as without them.
    run_experiment(sql, [arm("tags", "heuristic", scorers={"no_such": 1})], "broken")
    worker.wait_for(lambda: worker.feed(**asked)["experiments"] == {"broken": "tags"})
    assert worker.feed(**asked)["items"]


def test_by_hand_and_layers(worker: Worker, sql: psycopg.Connection) -> None:
    run_experiment(sql, [arm("time", "time")], "order", layer_to=0.5)
    run_experiment(sql, [arm("same")], "other", layer="looks")
    sql.execute("INSERT INTO feed.experiment_assignments VALUES ('order', 'anonymous-7', 'time')")
    worker.wait_for(lambda: len(worker.app.traffic.now.traffic.by_hand) == 1)
    assert worker.feed(user_id="anonymous-7")["experiments"] == {"order": "time", "other": "same"}
    some = [worker.feed(user_id=user) for user in USERS]
    assert {page["variant"] for page in some} == {"time", "champion"}
    for page in some:
        assert ("order" in page["experiments"]) == (page["variant"] == "time")
        assert page["experiments"]["other"] == "same"


def test_what_is_known_stays_while_postgres_is_away(
    worker: Worker, sql: psycopg.Connection
) -> None:
    run_experiment(sql, TRIAL)
    on_trial(worker)
    user = user_in(worker, "new")
    worker.app.database._address = lambda: "host=127.0.0.1 port=1 user=x dbname=x"
    worker.end_sessions()
    worker.wait_for(lambda: worker.fallback(user) == "database_unavailable")
    assert worker.feed(user_id=user)["experiments"] == {"trial": "new"}
    time.sleep(0.3)
    assert worker.app.traffic.now.traffic.experiments


def test_a_plan_is_worked_out_once_for_each_set_of_arms() -> None:
    profile = load_profile("marketplace")
    arms = (Arm("a"), Arm("b", 1.0, "heuristic", {"diversity": {"strength": 0.1}}))
    trial = Experiment("trial", "salt", "ranking", 0.0, 1.0, 1.0, arms)
    polled = Polled(Traffic((trial,)), frozenset(), {})
    plans = Plans(lambda: polled)
    made = {user: plans.of(FeedRequest(user_id=user), profile) for user in USERS}
    assert len({id(plan) for plan in made.values()}) == 2
    assert len({plan.mark for plan in made.values()}) == 2
    for user in USERS:
        assert plans.of(FeedRequest(user_id=user), profile) is made[user]
    changed = next(plan for plan in made.values() if plan.experiments == {"trial": "b"})
    assert changed.profile.diversity.strength == 0.1
    polled = Polled(Traffic((trial,), by_hand={("trial", "x"): "b"}), frozenset(), {})
    again = plans.of(FeedRequest(user_id="x"), profile)
    assert again.profile is changed.profile, "what was rendered by it stays good"
    assert again.mark == changed.mark
