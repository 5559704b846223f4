"""Real runs of the training: what goes live, what is refused, and what a failure leaves."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from models.catalogue.building import Vectors
from models.catalogue.snapshots.snapshot import FEATURES, Snapshot
from models.data.feature_set import digest_of
from models.evaluation.drift import DRIFT, Reference
from models.recommenders.served import vectors_of
from models.versions.config import Config
from models.versions.version import JUDGED_TAG, SNAPSHOT_ARTIFACT
from storage.events.lake import Lake
from storage.events.telemetry import write_audit
from storage.operations import releases
from storage.operations.releases import ROLLED_BACK
from tests.orchestration.conftest import LEARNT_FROM, MODEL, run_job

pytestmark = pytest.mark.usefixtures("without_plots", "few_recommenders")
MADE_ANEW = ("interactions", *LEARNT_FROM, "user_similarities", "item_similarities")


@pytest.fixture(scope="module", autouse=True)
def features(trained) -> None:
    """Features of the users and items that are there now: other files erase and add some."""
    today = datetime.now(UTC).date()
    selection = [dg.AssetKey(name) for name in MADE_ANEW]
    with dg.DagsterInstance.get() as instance:
        assert run_job(instance, "daily", days=(today, today), asset_selection=selection).success


def train(instance, *assets: str) -> dg.ExecuteInProcessResult:
    """The assets of the group ``model``, on the features that are there."""
    return run_job(
        instance, "daily", asset_selection=[dg.AssetKey(name) for name in assets or MODEL]
    )


def shown(result: dg.ExecuteInProcessResult) -> dict:
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("champion")
    ]
    return {name: one.value for name, one in event.materialization.metadata.items()}


def gate_of(registry, version) -> dict:
    return json.loads(
        Path(registry.client.download_artifacts(version.run_id, "gate.json")).read_text()
    )


def test_the_first_version_carries_what_is_needed_to_judge_it(trained, registry, platform) -> None:
    first = registry.get("1")
    lake = Lake(trained.lake)
    assert 8_000 < int(first.tags["rows"]) <= 9_000
    assert first.tags["first_day"] == lake.days()[0].isoformat()
    assert first.tags["last_day"] >= first.tags["first_day"]
    assert len(first.tags["fingerprint"]) == 16
    assert " to " in first.tags["partitions"]
    assert Config.from_json(first.tags["recipe"]) == Config.of(
        first.tags["recommender"], platform.profile
    )
    lineage = json.loads(
        Path(registry.client.download_artifacts(first.run_id, "lineage.json")).read_text()
    )
    assert lineage["assets"]["interactions"]["run"] == first.tags["dagster_run_id"]
    snapshot = Snapshot.load(trained.snapshots / "1")
    names = (trained.snapshots / "1" / FEATURES).read_bytes()
    assert first.tags["feature_digest"] == snapshot.manifest.features == digest_of(names)
    assert any(name.startswith("tag:") for name in json.loads(names)["items"])
    snapshot.check_features(first.tags["feature_digest"])
    known = Reference.from_bytes((trained.snapshots / "1" / DRIFT).read_bytes())
    assert known.until == first.tags["data_until"]
    assert "scores" in known.groups
    found = {one["check"]: one["status"] for one in gate_of(registry, first)["findings"]}
    assert found == {"random": "passed", "final": "passed"}


def test_the_same_recipe_goes_live(trained, instance, registry, conn) -> None:
    result = train(instance)
    assert result.success
    live = registry.champion()
    assert shown(result)["live_version"] == live.version == registry.newest().version
    assert registry.challenger() is None
    found = {one["check"]: one for one in gate_of(registry, live)["findings"]}
    assert "the same: the difference is 0" in found["split"]["text"]
    assert found["artifacts"]["paired"]["users"] >= 30
    assert {one["status"] for one in found.values()} == {"passed"}
    actor, detail = conn.execute(
        "SELECT actor, detail FROM feed.audit_log WHERE action = 'model.activated'"
        " ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert (actor, detail["version"]) == ("pipeline", live.version)


def test_without_a_champion_there_is_no_trial(trained, instance, registry, with_profile) -> None:
    live = registry.champion()
    with_profile(gate={"promote": "challenger"})
    registry.client.delete_registered_model_alias(registry.model_name, "champion")
    assert train(instance, "champion").success
    assert registry.champion().version == live.version


def test_a_training_that_went_wrong_is_refused(
    trained, instance, registry, conn, monkeypatch
) -> None:
    from orchestration.training import models as training

    def inverted(*arguments) -> Vectors:
        right = vectors_of(*arguments)
        return Vectors(right.users, -right.items, -right.bias)

    live = registry.champion()
    monkeypatch.setattr(training, "vectors_of", inverted)
    result = train(instance)
    assert result.success
    bad = registry.newest()
    kept = registry.champion()
    assert kept.version == live.version
    assert kept.tags[JUDGED_TAG] > live.tags[JUDGED_TAG]  # on newer data, so it is not stale
    assert bad.version != live.version
    assert bad.aliases == ()
    metadata = shown(result)
    assert metadata["live_version"] == live.version
    assert metadata["became"] == "refused"
    assert metadata["refused"] == bad.tags["refused"] == gate_of(registry, bad)["refused"]
    for check in ("random: does not beat chance", "final: the final", "artifacts: the vectors"):
        assert check in metadata["refused"]
    (detail,) = conn.execute(
        "SELECT detail FROM feed.audit_log WHERE action = 'model.refused' ORDER BY id DESC LIMIT 1"
    ).fetchone()
    assert detail["reason"] == metadata["refused"]
    assert detail["run"] == result.run_id


def test_a_worse_recipe_is_refused_out_of_sample(trained, instance, registry, with_profile) -> None:
    live = registry.champion()
    # It has hardly begun to learn.
    with_profile(recommenders={"bpr": {"iterations": 1}}, gate={"max_artifact_drop": 1.0})
    result = train(instance)
    assert result.success
    assert "split coverage: " in shown(result)["refused"]  # the same few items for everybody
    (split,) = [
        one for one in gate_of(registry, registry.newest())["findings"] if one["check"] == "split"
    ]
    assert f"the champion's config ({live.tags['recommender']}), refitted" in split["text"]
    assert registry.champion().version == live.version


def test_a_champion_whose_files_are_gone(trained, instance, registry, with_profile) -> None:
    """The heuristic, which answers then, takes its place in the gate."""
    live = registry.champion()
    with_profile(
        recommenders={live.tags["recommender"]: {}, "popularity": {}, "heuristic": {}},
        gate={"min_effect": 1.0, "max_coverage_drop": 1.0},  # how much worse does not matter here
    )
    artifacts = registry.client.get_run(live.run_id).info.artifact_uri.removeprefix("file://")
    shutil.move(Path(artifacts) / SNAPSHOT_ARTIFACT, trained.home / "put aside")
    shutil.rmtree(trained.snapshots / live.version)
    try:
        assert not registry.has_files(live)
        result = train(instance)
        assert result.success
        new = registry.newest()
        found = {one["check"]: one for one in gate_of(registry, new)["findings"]}
        assert found["split"]["status"] == "passed"
        assert registry.champion().version == new.version
        assert f"the files of version {live.version} are gone" in found["champion"]["text"]
        assert "the heuristic on the same split: nDCG" in found["split"]["text"]
    finally:
        shutil.move(trained.home / "put aside", Path(artifacts) / SNAPSHOT_ARTIFACT)


def test_what_may_not_go_live_by_itself(trained, instance, registry, conn) -> None:
    live = registry.champion()
    try:
        assert train(instance, *MODEL[:-1]).success
        write_audit(conn, "a test", ROLLED_BACK, {"version": "0"})  # since the training began
        result = train(instance, "champion")
        assert result.success
        new = registry.newest()
        assert "challenger: there was a rollback" in shown(result)["became"]
        assert registry.champion().version == live.version
        assert registry.challenger() == new

        registry.put_on_trial("1")
        conn.execute(
            "INSERT INTO feed.experiments (id, status, variants, salt, challenger_version)"
            " VALUES ('e', 'paused', '[]', 's', '1')"
        )
        result = train(instance, "champion")
        assert shown(result)["became"].endswith("version 1 is on trial in an experiment")
        assert registry.challenger().version == "1"

        releases.withdraw(conn, new.version, "a test", "on purpose")
        result = train(instance, "champion")
        assert "withdrawn: version" in shown(result)["became"]
        assert registry.champion().version == live.version
    finally:
        conn.execute("DELETE FROM feed.experiments WHERE id = 'e'")
        conn.execute("DELETE FROM feed.audit_log WHERE actor = 'a test'")
        releases.restore(conn, new.version)
        registry.client.delete_registered_model_alias(registry.model_name, "challenger")


@pytest.mark.parametrize("broken", ["training", "cancelled"])
def test_a_training_that_breaks_off_leaves_nothing_that_could_serve(
    trained, instance, registry, monkeypatch, broken: str
) -> None:
    from orchestration.training import registry as assets

    def breaks(*_: object, **__: object) -> None:
        raise KeyboardInterrupt if broken == "cancelled" else ValueError("on purpose")

    def runs() -> set[str]:
        return {run.info.run_id for run in registry.client.search_runs([registry.experiment_id()])}

    live, newest, before = registry.champion(), registry.newest(), runs()
    monkeypatch.setattr(assets.snapshot.op, "_retry_policy", None)
    if broken == "training":
        monkeypatch.setattr("models.evaluation.comparison._choose", breaks)
    else:
        monkeypatch.setattr(assets, "build_snapshot", breaks)
    try:
        assert not train(instance).success
    except KeyboardInterrupt:
        assert broken == "cancelled"
    assert registry.champion() == live
    assert registry.challenger() is None
    left = registry.newest()
    assert (left == newest) == (broken == "training")
    if broken == "training":
        assert runs() == before
    else:
        assert not left.has_snapshot
        assert left.aliases == ()
        assert not (trained.snapshots / left.version).exists()


def test_nothing_is_registered_before_all_is_trained() -> None:
    """Or a ranker that fails or is cancelled would leave a version that nothing can serve."""
    from orchestration.training.registry import registered_model

    waits_for = registered_model.asset_deps[registered_model.key]
    assert {dg.AssetKey("recommender"), dg.AssetKey("ranker")} <= set(waits_for)


def test_the_drift_report(trained, instance, conn, platform, with_profile, registry) -> None:
    from orchestration.training.drift import last_drift

    with_profile(drift={"min_rows": 50, "min_users": 20})
    assert run_job(instance, "drift").success
    live = registry.champion().version
    assert last_drift(instance) == (live, "not_enough_data")
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " SELECT gen_random_uuid(), u.id, (SELECT min(id) FROM feed.items), 'save', %s"
        " FROM feed.users AS u, generate_series(1, 3)",
        (datetime.now(UTC),),
    )
    try:
        assert run_job(instance, "drift").success
        assert last_drift(instance) == (live, "drift")
        alerts = conn.execute("SELECT detail FROM feed.alerts WHERE kind = 'drift'").fetchall()
        assert [detail["version"] for (detail,) in alerts] == [live]
        groups = {one["group"]: one["status"] for one in alerts[0][0]["shifts"]}
        assert groups["interactions.type"] == groups["items.category"] == "drift"
        assert groups["scores"] == "stable"  # the same users, the same model
    finally:
        conn.execute(
            "DELETE FROM feed.interactions WHERE type = 'save' AND received_at > %s",
            (datetime.now(UTC).replace(hour=0, minute=0),),
        )
        conn.execute("DELETE FROM feed.alerts WHERE kind = 'drift'")
