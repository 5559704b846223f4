"""Experiments from their making to their end, by hand, on a real Postgres."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from going_live.experiments import (
    MAX_ASSIGNED,
    ExperimentError,
    InvalidExperiment,
    UnknownExperiment,
    assign,
    create,
    end,
    find,
    free_slice,
    parse,
    patch,
    pause,
    resume,
    set_share,
    start,
)
from going_live.flags import set_flag, unset_flag
from models.profile.schema import Profile, load_profile
from storage.operations.experiments import TRAFFIC, ExperimentRow, Polled, traffic_of
from storage.postgres.database import connect

WHO: dict[str, Any] = {"actor": "ann"}
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ARMS = [{"name": "as-now"}, {"name": "new", "ranked_by": "challenger"}]
PLAIN = [{"name": "as-now"}, {"name": "by-time", "ranked_by": "time"}]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("marketplace")


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with connect(database, autocommit=True) as connection:
        yield connection


def make(
    conn: psycopg.Connection, profile: Profile, id: str = "one", **given: Any
) -> ExperimentRow:
    return create(conn, parse({"id": id, "arms": PLAIN, **given}), profile, **WHO)


def run(conn: psycopg.Connection, profile: Profile, id: str = "one", **given: Any) -> ExperimentRow:
    make(conn, profile, id, **given)
    return start(conn, id, profile, challenger=lambda: "7", now=NOW, **WHO)


def polled(conn: psycopg.Connection, environment: str = "default") -> Polled:
    return traffic_of(conn.execute(TRAFFIC, {"environment": environment}).fetchone() or ())


def actions(conn: psycopg.Connection) -> list[str]:
    rows = conn.execute("SELECT action FROM feed.audit_log WHERE actor = 'ann' ORDER BY id")
    return [action for (action,) in rows]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": "Über"}, "id: must be of a to z"),
        ({"id": "a\0b"}, "id: must be of a to z"),
        ({"description": "a\0b"}, "description: must not contain a NUL"),
        ({"arms": [{"name": "a"}]}, "arms: List should have at least 2 items"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "arms.1.name: 'a' is there more than once"),
        ({"arms": [{"name": "a", "weight": 0}, {"name": "b"}]}, "arms.0.weight: Input should be"),
        ({"arms": [{"name": "a"}, {"name": "b", "ranked_by": "luck"}]}, "arms.1.ranked_by: Input"),
        (
            {"arms": [{"name": "a"}, {"name": "b", "settings": {"diversity": {"strength": 2}}}]},
            "arms.1.settings.diversity.strength: Input should be less than or equal to 1",
        ),
        (
            {"arms": [{"name": "a"}, {"name": "b", "settings": {"scorers": {"fast": 1}}}]},
            "arms.1.settings.scorers.fast: no such field",
        ),
        (
            {"arms": [{"name": "a"}, {"name": "b", "settings": {"eligibility": {}}}]},
            "arms.1.settings.eligibility: cannot be changed: an arm may change scorer_weights",
        ),
        ({"layer_from": 0.5}, "layer_to: goes with layer_from"),
        ({"layer_from": 0.5, "layer_to": 0.5}, "layer_from: must be below layer_to"),
        ({"ramp": [{"share": 0.5}, {"share": 0.1}]}, "ramp.1.share: must be above 0.5"),
        ({"ramp": [{"share": 0.5}], "share": 0.1}, "share: leave it out where there is a ramp"),
        ({"share": 1e300}, "share: Input should be less than or equal to 1"),
        ({"primary_metric": "luck"}, "primary_metric: Input should be 'ctr'"),
        ({"colour": "red"}, "colour: no such field"),
    ],
)
def test_what_cannot_be(conn, profile, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidExperiment) as caught:
        make(conn, profile, **changes)
    assert told in str(caught.value)
    assert actions(conn) == []


def test_a_life_by_hand(conn, profile) -> None:
    draft = make(conn, profile, ramp=[{"share": 0.2}, {"share": 1.0}], description="why")
    assert (draft.status, draft.share, draft.layer_from, draft.layer_to) == ("draft", 0.2, 0, 1)
    assert draft.created_by == "ann"
    assert draft.salt != make(conn, profile, "two").salt
    assert polled(conn).traffic.experiments == ()

    changed = patch(conn, "one", {"share": 0.5, "arms": ARMS, "description": None}, profile, **WHO)
    assert (changed.share, changed.ramp, changed.description) == (0.5, [], "")
    assert [arm["name"] for arm in changed.arms] == ["as-now", "new"]
    with pytest.raises(InvalidExperiment, match="id: cannot be changed"):
        patch(conn, "one", {"id": "other"}, profile, **WHO)
    patch(conn, "one", {"ramp": [{"share": 0.2}, {"share": 1.0}]}, profile, **WHO)

    with pytest.raises(ExperimentError, match="there is none"):
        start(conn, "one", profile, challenger=lambda: None, **WHO)
    started = start(conn, "one", profile, challenger=lambda: "7", now=NOW, **WHO)
    assert (started.status, started.challenger_version) == ("running", "7")
    assert started.started_at == started.share_since == NOW
    known = polled(conn)
    assert known.challengers == {"one": "7"}
    [experiment] = known.traffic.experiments
    assert experiment.arms[1].ranked_by == "challenger"
    assert (experiment.share, experiment.salt) == (0.2, started.salt)
    with pytest.raises(ExperimentError, match="runs; this needs one that is draft"):
        patch(conn, "one", {"share": 0.5}, profile, **WHO)

    assert set_share(conn, "one", None, **WHO).share == 1.0
    with pytest.raises(ExperimentError, match="no step after its share of 1"):
        set_share(conn, "one", None, **WHO)
    assert set_share(conn, "one", 0.3, **WHO).share == 0.3

    assert pause(conn, "one", reason="sale", **WHO).held_because == "sale"
    assert polled(conn).traffic.experiments == ()
    with pytest.raises(ExperimentError, match="about version 7, and the challenger is version 8"):
        resume(conn, "one", challenger=lambda: "8", **WHO)
    later = NOW + timedelta(days=1)
    resumed = resume(conn, "one", challenger=lambda: "7", now=later, **WHO)
    assert (resumed.held_because, resumed.share_since) == (None, later)

    with pytest.raises(InvalidExperiment, match="winner: is no arm of it: it has as-now, new"):
        end(conn, "one", winner="nobody", **WHO)
    ended = end(conn, "one", winner="new", **WHO)
    assert (ended.status, ended.winner) == ("ended", "new")
    with pytest.raises(ExperimentError, match="has ended"):
        resume(conn, "one", challenger=lambda: "7", **WHO)
    with pytest.raises(UnknownExperiment):
        end(conn, "nothing", **WHO)
    assert actions(conn) == [
        f"experiment.{did}"
        for did in ("created", "created", "changed", "changed", "started", "ramped", "ramped",
                    "paused", "resumed", "ended")
    ]  # fmt: skip


def test_a_withdrawn_challenger_is_not_tried(conn, profile) -> None:
    make(conn, profile, arms=ARMS)
    conn.execute(
        "INSERT INTO feed.withdrawn_versions (model_version, actor, reason)"
        " VALUES ('7', 'bob', 'it hurt')"
    )
    with pytest.raises(ExperimentError, match="withdrawn by bob"):
        start(conn, "one", profile, challenger=lambda: "7", **WHO)
    assert polled(conn).withdrawn == {"7"}


def test_a_layer_has_room_once(conn, profile) -> None:
    run(conn, profile, "first", layer_from=0.0, layer_to=0.5)
    second = make(conn, profile, "second")
    assert (second.layer_from, second.layer_to) == (0.5, 1.0)
    make(conn, profile, "third", layer_from=0.4, layer_to=0.6)
    with pytest.raises(ExperimentError, match=r"'first' \(running\) holds 0 to 0.5: end that one"):
        start(conn, "third", profile, challenger=lambda: None, **WHO)
    start(conn, "second", profile, challenger=lambda: None, **WHO)
    pause(conn, "first", reason="by hand", **WHO)
    with pytest.raises(ExperimentError, match="Layer 'ranking' has no room: first, second hold"):
        make(conn, profile, "fourth")
    with pytest.raises(ExperimentError, match="already: choose another id"):
        make(conn, profile, "first", layer="pages")
    # Another layer, and an environment where none of them is.
    assert run(conn, profile, "pages", layer="pages").status == "running"
    end(conn, "first", **WHO)
    end(conn, "second", **WHO)
    run(conn, profile, "staging", environment="staging")
    assert run(conn, profile, "production", environment="production").layer_to == 1.0
    assert [one.id for one in polled(conn, "staging").traffic.experiments] == ["pages", "staging"]


def test_the_largest_free_slice() -> None:
    assert free_slice([]) == (0.0, 1.0)
    assert free_slice([(0.0, 0.2), (0.3, 0.5)]) == (0.5, 1.0)
    assert free_slice([(0.4, 1.0)]) == (0.0, 0.4)
    assert free_slice([(0.0, 0.5), (0.5, 1.0)]) is None


def start_at_once(url: str, id: str, ready: Any, said: Any) -> None:
    with connect(url) as conn:
        ready.wait()
        try:
            start(conn, id, load_profile("marketplace"), actor=id, challenger=lambda: None)
            said.put("started")
        except ExperimentError as error:
            said.put(str(error))


def test_two_processes_start_what_overlaps(conn, profile, database: str) -> None:
    processes = multiprocessing.get_context("fork")  # it has all imports
    ready, said = processes.Barrier(2), processes.Queue()
    for id in ("left", "right"):
        make(conn, profile, id)
        processes.Process(target=start_at_once, args=(database, id, ready, said)).start()
    refused, started = sorted(said.get(timeout=30) for _ in range(2))
    assert started == "started"
    assert "holds 0 to 1: end that one" in refused
    assert len(polled(conn).traffic.experiments) == 1


def test_an_arm_by_hand(conn, profile) -> None:
    run(conn, profile, share=0.0)
    assert polled(conn).traffic.arms("ann") == {}
    assign(conn, "one", "ann", "by-time", **WHO)
    assert polled(conn).traffic.arms("ann")["one"].ranked_by == "time"
    assign(conn, "one", "ann", "as-now", **WHO)
    assert polled(conn).traffic.arms("ann")["one"].name == "as-now"
    assign(conn, "one", "ann", None, **WHO)
    assert polled(conn).traffic.arms("ann") == {}
    with pytest.raises(InvalidExperiment, match="arm: is no arm of it"):
        assign(conn, "one", "ann", "nothing", **WHO)
    detail = conn.execute("SELECT detail::text FROM feed.audit_log").fetchall()
    assert "ann" not in str(detail)  # the log outlives the user
    conn.execute(
        "INSERT INTO feed.experiment_assignments (experiment_id, user_id, variant)"
        " SELECT 'one', n::text, 'as-now' FROM generate_series(1, %s) AS n",
        (MAX_ASSIGNED,),
    )
    with pytest.raises(ExperimentError, match="use a share"):
        assign(conn, "one", "ann", "by-time", **WHO)


def test_flags_of_an_environment_win(conn) -> None:
    assert polled(conn).traffic.flag("ml_recommendations", "u")
    assert not polled(conn).traffic.flag("new_cards", "u")
    set_flag(conn, "ml_recommendations", enabled=False, **WHO)
    set_flag(conn, "ml_recommendations", enabled=True, environment="staging", **WHO)
    set_flag(conn, "new_cards", enabled=True, share=0.5, **WHO)
    assert not polled(conn).traffic.flag("ml_recommendations", "u")
    assert polled(conn, "staging").traffic.flag("ml_recommendations", "u")
    users = [str(n) for n in range(400)]
    flags = polled(conn, "staging").traffic
    on = sum(flags.flag("new_cards", user) for user in users)
    assert 150 < on < 250
    assert unset_flag(conn, "ml_recommendations", **WHO)
    assert not unset_flag(conn, "ml_recommendations", **WHO)
    assert polled(conn).traffic.flag("ml_recommendations", "u")
    assert actions(conn) == ["flag.set"] * 3 + ["flag.unset"]


def test_an_experiment_is_found_as_it_was_made(conn, profile) -> None:
    made = make(conn, profile, arms=[{"name": "a", "weight": 3, "settings": {"diversity":
                {"strength": 0.5}}}, {"name": "b", "ranked_by": "heuristic"}])  # fmt: skip
    assert find(conn, "one") == made
    assert made.arms[0] == {"name": "a", "weight": 3.0, "ranked_by": None,
                            "settings": {"diversity": {"strength": 0.5}}}  # fmt: skip
    assert made.control == "a"
    assert [step["share"] for step in made.ramp] == [0.01, 0.1, 0.5, 1.0]
