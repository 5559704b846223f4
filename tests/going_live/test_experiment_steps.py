"""What happens to experiments by themselves: real Postgres, real MLflow, and a clock of our own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from going_live import ramps
from going_live.experiment_steps import Step, step_all
from going_live.experiments import assign, create, end, find, parse, resume, start
from going_live.releases import Releases
from models.experiments.sequential import Difference
from models.profile.schema import Profile, load_profile
from models.versions.version import RegistryAway
from storage.operations.experiments import ExperimentRow, shown
from storage.postgres.database import connect
from storage.registry.opening import open_registry
from storage.registry.registry import Registry
from storage.settings import Settings
from tests.conftest import TEMPLATE, _fresh

START = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
WHO: dict[str, Any] = {"actor": "ann"}
NOBODY: Any = None
"""Neither registry nor releases: nothing asks them."""
RAMP = [{"share": share, "hours": 24, "min_impressions": 200} for share in (0.01, 0.1, 0.5, 1.0)]
TIME_ARMS = [{"name": "as-now"}, {"name": "by-time", "ranked_by": "time"}]
MODEL_ARMS = [{"name": "as-now"}, {"name": "new", "ranked_by": "challenger"}]
VARIANTS = {"as-now": "champion", "by-time": "time", "new": "challenger"}
PROFILE = load_profile("marketplace")


@pytest.fixture(scope="module")
def url(postgres_url: str, _server: psycopg.Connection) -> Iterator[str]:
    """One database for the module: MLflow takes seconds to make its tables."""
    yield from _fresh(postgres_url, _server, TEMPLATE)


@pytest.fixture
def settings(url: str, tmp_path) -> Settings:
    return Settings(home=tmp_path, database_url=url, model_name=f"feed-{uuid4().hex[:8]}")


@pytest.fixture
def conn(url: str) -> Iterator[psycopg.Connection]:
    with connect(url, autocommit=True) as connection:
        connection.execute(
            "TRUNCATE feed.experiments, feed.experiment_assignments, feed.variant_hours,"
            " feed.withdrawn_versions, feed.audit_log, feed.alerts"
        )
        yield connection


@pytest.fixture
def registry(settings: Settings, url: str) -> Registry:
    """Version 1 is champion, version 2 is challenger."""
    registry = open_registry(settings, url)
    for _ in range(2):
        run = registry.client.create_run(registry.experiment_id())
        made = registry.register(run.info.run_id, "runs:/none", {})
        registry.client.log_text(run.info.run_id, "{}", "snapshot/manifest.json")
        registry.client.set_registered_model_alias(registry.model_name, "challenger", made.version)
        registry.client.set_model_version_tag(
            registry.model_name, made.version, "snapshot_artifact", "snapshot"
        )
    registry.activate("1")
    return registry


class World:
    """One experiment, and the job that looks at it."""

    def __init__(self, conn: psycopg.Connection, url: str, settings: Settings) -> None:
        self.conn, self._url, self._settings = conn, url, settings
        self.now = START
        self._users = 0

    def begin(self, **given: Any) -> None:
        definition = {"id": "one", "ramp": RAMP, "arms": TIME_ARMS, **given}
        create(self.conn, parse(definition), PROFILE, **WHO)
        start(self.conn, "one", PROFILE, challenger=lambda: "2", now=START, **WHO)

    def show(
        self,
        arm: str,
        users: int,
        *,
        clicks: float = 0.1,
        each: int = 10,
        dismisses: float = 0.0,
        variant: str | None = None,
    ) -> None:
        """New users with ``each`` impressions in this hour, and clicks for a share of those."""
        first, self._users = self._users, self._users + users
        self.conn.execute(
            """
            INSERT INTO feed.variant_hours (hour, user_id, experiment, arm, variant, impressions,
                clicks, dismisses)
            SELECT date_trunc('hour', %s), n::text, 'one', %s, %s, %s,
                   (%s * (0.5 + (n %% 3) * 0.5))::int, (%s * (n %% 3))::int
            FROM generate_series(%s + 1, %s) AS n
            """,
            (self.now, arm, variant or VARIANTS[arm], each, each * clicks, each * dismisses,
             first, self._users),
        )  # fmt: skip

    def step(self, *, hours: float = 0, mlflow: str | None = None) -> Step:
        """One run of the job, some time later; there is one experiment."""
        self.now += timedelta(hours=hours)
        settings = Settings(**self._settings.model_dump() | {"mlflow_url": mlflow})
        [step] = step_all(
            self._url,
            PROFILE,
            "default",
            lambda: open_registry(settings, self._url),
            Releases.of(settings, self._url),
            now=self.now,
        )
        return step

    @property
    def row(self) -> ExperimentRow:
        return find(self.conn, "one")

    def alerts(self) -> list[str]:
        rows = self.conn.execute("SELECT kind FROM feed.alerts ORDER BY id")
        return [kind for (kind,) in rows]

    def audit(self) -> list[str]:
        rows = self.conn.execute(
            "SELECT action FROM feed.audit_log WHERE actor = 'pipeline' ORDER BY id"
        )
        return [action for (action,) in rows]


def live(registry: Registry) -> str | None:
    found = registry.champion()
    return found.version if found else None


def tried(registry: Registry) -> str | None:
    found = registry.challenger()
    return found.version if found else None


@pytest.fixture
def world(conn: psycopg.Connection, url: str, settings: Settings) -> World:
    return World(conn, url, settings)


def test_a_ramp_takes_its_steps(world: World) -> None:
    world.begin()
    world.show("as-now", 30)
    world.show("by-time", 30)
    assert world.step(hours=1) == Step(
        "one", "waits", "at 1.0% of its users until 2026-05-05 12:00"
    )
    for share in (0.1, 0.5, 1.0):
        assert world.step(hours=24).did == "grew"
        assert world.row.share == share
        world.show("as-now", 300)
        world.show("by-time", 300)
    assert world.step(hours=24) == Step("one", "waits", "at 100.0% of its users")
    assert world.audit() == ["experiment.ramped"] * 3
    assert world.alerts() == []


def test_after_the_clock_was_set_back_its_step_begins_anew(world: World) -> None:
    world.begin()
    assert world.step(hours=-30).did == "waits"
    assert world.row.started_at == world.row.share_since == world.now
    world.show("as-now", 30)
    world.show("by-time", 30)
    assert world.step(hours=24).did == "grew"


def test_it_waits_for_data_and_then_goes_on(world: World) -> None:
    world.begin()
    world.show("as-now", 30)
    world.show("by-time", 10)
    waits = world.step(hours=25)
    assert waits.did == "held"
    assert "by-time has 100 impressions since the share is 1.0%, 200 are needed" in waits.reason
    assert world.row.held_because == waits.reason
    world.step(hours=1)
    world.show("by-time", 20)
    assert world.step(hours=1).did == "grew"
    assert world.row.held_because is None
    assert world.audit() == ["experiment.held", "experiment.ramped"]


def test_users_who_do_not_fit_the_weights_hold_it(world: World) -> None:
    world.begin()
    world.show("as-now", 600)
    world.show("by-time", 400, clicks=0.2)  # would win
    held = world.step(hours=25)
    assert held.did == "held"
    assert held.reason.startswith("sample ratio mismatch: users by arm (as-now 600, by-time 400)")
    world.step(hours=1)
    assert world.alerts() == ["sample_ratio_mismatch"]
    assert world.row.winner is None


def test_users_by_hand_and_forged_arms_do_not_count(world: World) -> None:
    world.begin()
    world.show("as-now", 50)
    world.show("by-time", 150)
    for user in range(51, 151):
        assign(world.conn, "one", str(user), "by-time", **WHO)
    world.conn.execute(
        "INSERT INTO feed.variant_hours (hour, user_id, experiment, arm, variant, impressions)"
        " SELECT %s, 'f' || n, 'one', 'forged', 'time', 10 FROM generate_series(1, 500) AS n",
        (START,),
    )
    seen = shown(world.conn, world.row)
    assert {arm: of.users for arm, of in seen.items()} == {"as-now": 50, "by-time": 100 - 50}
    assert ramps.sample_ratio_p(world.row, seen) == 1.0


def test_a_rate_that_leans_to_harm_holds_it(world: World) -> None:
    world.begin()
    world.show("as-now", 400, dismisses=0.05)
    world.show("by-time", 400, dismisses=0.09)
    held = world.step(hours=25)
    assert held.did == "held"
    assert held.reason.startswith("dismiss rate of by-time is +")


def test_arms_that_fall_back_unlike_each_other_are_not_compared(world: World) -> None:
    world.begin()
    world.show("as-now", 200)
    world.show("by-time", 180)
    world.show("by-time", 20, variant="heuristic")
    held = world.step(hours=25)
    assert "10.0% of what by-time shows is a fallback, and 0.0% of what as-now" in held.reason


def test_harm_without_a_model_pauses(world: World, settings, url) -> None:
    world.begin()
    world.show("as-now", 600, clicks=0.2)
    world.show("by-time", 600, clicks=0.1)
    paused = world.step(hours=1)
    assert paused.did == "paused"
    assert paused.reason.startswith("by-time harms beside as-now: CTR")
    assert (world.row.status, world.row.held_because) == ("paused", paused.reason)
    assert world.alerts() == ["experiment_harm"]
    assert step_all(url, PROFILE, "default", NOBODY, NOBODY, now=world.now) == []


def test_a_challenger_that_harms_is_withdrawn(world: World, registry: Registry) -> None:
    world.begin(arms=MODEL_ARMS)
    world.show("as-now", 600, clicks=0.2)
    world.show("new", 600, clicks=0.1)
    assert world.step(hours=1).did == "paused"
    assert tried(registry) is None
    assert live(registry) == "1"
    [(version, reason)] = world.conn.execute(
        "SELECT model_version, reason FROM feed.withdrawn_versions"
    ).fetchall()
    assert version == "2"
    assert reason.startswith("experiment one: new harms")
    assert world.alerts() == ["withdrawn", "experiment_harm"]


def test_harm_that_a_wrong_split_may_explain_withdraws_nothing(world: World, registry) -> None:
    world.begin(arms=MODEL_ARMS)
    world.show("as-now", 900, clicks=0.2)
    world.show("new", 500, clicks=0.1)
    assert world.step(hours=1).did == "paused"
    assert tried(registry) == "2"
    assert world.conn.execute("SELECT FROM feed.withdrawn_versions").fetchall() == []


def test_a_winner_is_noted_once_and_the_ramp_goes_on(world: World, registry: Registry) -> None:
    world.begin(arms=MODEL_ARMS)
    world.show("as-now", 600, clicks=0.1)
    world.show("new", 600, clicks=0.2)
    assert world.step(hours=25) == Step("one", "won", "new beats as-now")
    assert (world.row.status, world.row.winner) == ("running", "new")
    assert world.step(hours=0).did == "grew"
    assert world.alerts() == ["experiment_winner"]
    assert live(registry) == "1"  # winner takes all is off


def test_a_winner_without_a_version_does_not_end_it(world: World) -> None:
    world.begin(winner_takes_all=True)
    world.show("as-now", 600, clicks=0.1)
    world.show("by-time", 600, clicks=0.2)
    assert world.step(hours=25).did == "won"
    assert [world.step().did, world.step(hours=1).did] == ["grew", "waits"]
    assert (world.row.status, world.row.winner) == ("running", "by-time")


@pytest.mark.parametrize(
    ("control", "new"),
    [({"ranked_by": "heuristic"}, {}), ({}, {"settings": {"diversity": {"strength": 0}}})],
)
def test_a_win_that_is_not_the_versions_own_puts_nothing_live(
    world: World, registry: Registry, control: dict[str, Any], new: dict[str, Any]
) -> None:
    world.begin(arms=[MODEL_ARMS[0] | control, MODEL_ARMS[1] | new], winner_takes_all=True)
    world.show("as-now", 600, clicks=0.1, variant=control.get("ranked_by"))
    world.show("new", 600, clicks=0.2)
    assert world.step(hours=1).did == "won"
    assert world.step().did == "waits"
    assert live(registry) == "1"


def test_the_challenger_is_withdrawn_though_another_arm_harms_too(world: World, registry) -> None:
    world.begin(arms=[*TIME_ARMS, MODEL_ARMS[1]])
    for arm, clicks in (("as-now", 0.2), ("by-time", 0.1), ("new", 0.1)):
        world.show(arm, 600, clicks=clicks)
    paused = world.step(hours=1)
    assert "by-time harms" in paused.reason
    assert "new harms" in paused.reason
    assert tried(registry) is None


def test_one_that_fails_keeps_no_other_waiting(world: World, url: str) -> None:
    world.begin(arms=MODEL_ARMS, layer="broken")
    definition = {"id": "two", "arms": TIME_ARMS, "layer": "other"}
    create(world.conn, parse(definition), PROFILE, **WHO)
    start(world.conn, "two", PROFILE, challenger=NOBODY, now=START, **WHO)
    world.show("as-now", 600, clicks=0.2)
    world.show("new", 600, clicks=0.1)

    class Broken(Releases):
        def withdraw(self, *_: Any, **__: Any) -> Any:
            raise OSError("no disk")

    def away() -> Registry:
        raise RegistryAway("away")

    later = START + timedelta(hours=1)
    steps = step_all(url, PROFILE, "default", away, Broken(url, away), now=later)
    assert [(one.experiment, one.did) for one in steps] == [("one", "failed"), ("two", "waits")]
    assert steps[0].reason == "OSError: no disk"
    assert world.row.status == "running"  # the next run tries again


def test_users_by_hand_are_no_evidence(world: World) -> None:
    world.begin()
    world.show("as-now", 400, clicks=0.1)
    world.show("by-time", 400, clicks=0.1)
    world.show("by-time", 300, clicks=0.6)  # our own people
    for user in range(801, 1101):
        assign(world.conn, "one", str(user), "by-time", **WHO)
    assert world.step(hours=1).did == "waits"


def test_the_winner_takes_all(world: World, registry: Registry) -> None:
    world.begin(arms=MODEL_ARMS, winner_takes_all=True)
    world.show("as-now", 600, clicks=0.1)
    world.show("new", 600, clicks=0.2)
    assert world.step(hours=1) == Step("one", "ended", "new won, and version 2 is live")
    assert live(registry) == "2"
    row = world.row
    assert (row.status, row.winner, row.ended_at) == ("ended", "new", world.now)
    assert world.audit() == ["experiment.won", "model.activated", "experiment.ended"]


def test_a_run_that_broke_off_after_the_activation_is_finished(world: World, registry) -> None:
    world.begin(arms=MODEL_ARMS, winner_takes_all=True)
    world.conn.execute("UPDATE feed.experiments SET winner = 'new'")
    registry.activate("2")
    assert world.step().did == "ended"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("promoted", "it is the champion"),
        ("replaced", "version 1 is"),
        ("removed", "there is none"),
        ("withdrawn", "version 2 was withdrawn by bob"),
    ],
)
def test_a_challenger_that_changes_pauses_it(
    world: World, registry: Registry, change: str, told: str
) -> None:
    world.begin(arms=MODEL_ARMS)
    alias = (registry.model_name, "challenger")
    if change == "promoted":
        registry.activate("2")
    elif change == "replaced":
        registry.client.set_registered_model_alias(*alias, "1")
    elif change == "removed":
        registry.client.delete_registered_model_alias(*alias)
    else:
        world.conn.execute(
            "INSERT INTO feed.withdrawn_versions (model_version, actor, reason)"
            " VALUES ('2', 'bob', 'by hand')"
        )
    paused = world.step()
    assert paused.did == "paused"
    assert told in paused.reason
    assert world.alerts() == ["experiment_paused"]
    if change == "removed":  # and put back
        registry.client.set_registered_model_alias(*alias, "2")
        resumed = resume(world.conn, "one", challenger=lambda: "2", now=world.now, **WHO)
        assert resumed.status == "running"


def test_while_mlflow_is_away_it_waits_and_harm_still_ends_it(world: World) -> None:
    world.begin(arms=MODEL_ARMS)
    world.show("as-now", 100, clicks=0.2)
    world.show("new", 100, clicks=0.2)
    away = "http://127.0.0.1:9"
    held = world.step(hours=25, mlflow=away)
    assert held.did == "held"
    assert held.reason.startswith("it is not known whether the challenger is still the same")
    world.show("as-now", 600, clicks=0.2)
    world.show("new", 600, clicks=0.1)
    assert world.step(hours=1, mlflow=away).did == "paused"
    [row] = world.conn.execute("SELECT model_version FROM feed.withdrawn_versions").fetchall()
    assert row == ("2",)


def test_what_is_of_another_environment_or_over_is_left_alone(world: World, url) -> None:
    world.begin(environment="staging")
    assert step_all(url, PROFILE, "default", NOBODY, NOBODY, now=world.now) == []
    end(world.conn, "one", **WHO)
    assert step_all(url, PROFILE, "staging", NOBODY, NOBODY, now=world.now) == []


def test_the_harmful_part_of_an_interval() -> None:
    def part(low: float, high: float | None, *, lower_is_better: bool = False) -> float:
        return ramps.harmful_part(Difference(0.0, low, high, 1.0), lower_is_better=lower_is_better)

    assert part(-0.3, 0.1) == pytest.approx(0.75)
    assert part(-0.3, 0.1, lower_is_better=True) == pytest.approx(0.25)
    assert part(-0.3, -0.1) == 1
    assert part(0.1, 0.3) == 0
    assert part(-1.0, None) == 0


def test_defaults_are_a_ramp() -> None:
    assert isinstance(PROFILE, Profile)
    shares = [step.share for step in PROFILE.experiments.ramp]
    assert shares == [0.01, 0.1, 0.5, 1.0]
    assert not PROFILE.experiments.winner_takes_all
