"""The daily job on real parts: what it makes, what it costs the second time, what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import numpy as np
import psycopg
import pytest

from models.catalogue.snapshots.snapshot import Snapshot
from models.profile.ranker_settings import parts_of
from models.ranking.learned import ranker_of
from models.versions.config import Config
from storage.events.lake import Lake
from storage.registry.registry import Registry
from storage.settings import Settings, mlflow_tracking_uri
from tests.orchestration.conftest import MODEL, run_job

PNG = "iVBORw0KGgo"
"""What every PNG begins with, in base64."""


@pytest.fixture
def registry(trained: Settings) -> Registry:
    assert trained.database_url is not None
    return Registry(
        mlflow_tracking_uri(trained, trained.database_url), trained.model_name, trained.artifacts
    )


def add_interaction(
    conn: psycopg.Connection, at: datetime, type: str = "click", item: str | None = None
) -> str:
    event_id = str(uuid4())
    conn.execute("SELECT feed.ensure_interaction_partitions(%(at)s, %(at)s)", {"at": at})
    conn.execute(
        "INSERT INTO feed.interactions (event_id, user_id, item_id, type, occurred_at)"
        " SELECT %s, (SELECT min(id) FROM feed.users),"
        " coalesce(%s, (SELECT min(id) FROM feed.items)), %s, %s",
        (event_id, item, type, at),
    )
    return event_id


def test_every_asset_is_made_and_every_check_passes(trained, instance) -> None:
    from orchestration.data.checks import holds
    from orchestration.definitions import defs

    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.materializable_asset_keys} >= {
        "interactions",
        "users",
        "items",
        "owners",
        "interaction_matrix",
        "user_similarities",
        "item_similarities",
        "user_features",
        "item_features",
        "training_set",
        "lightfm_hybrid",
        "offline_evaluation",
        "recommender",
        "registered_model",
        "snapshot",
        "champion",
        "recommendations",
        "engagement_metrics",
        "trending_items",
        "variant_metrics",
        "guardrail_metrics",
        "off_policy_estimate",
    }
    made = {
        record.asset_entry.asset_key
        for record in instance.get_asset_records(list(graph.materializable_asset_keys))
        if record.asset_entry.last_materialization is not None
    }
    missing = {key.to_user_string() for key in graph.materializable_asset_keys - made}
    assert missing <= {"hyperparameter_search", "refreshed_tables"}  # they have jobs of their own
    checks = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(graph.asset_check_keys)
    )
    outcomes = {
        key: record.event.dagster_event.event_specific_data
        for key, record in checks.items()
        if record.event is not None and record.event.dagster_event is not None
    }
    ran = {key: one for key, one in outcomes.items() if isinstance(one, dg.AssetCheckEvaluation)}
    assert ran
    assert [key for key, outcome in ran.items() if not holds(outcome)] == []


@pytest.mark.parametrize(
    ("asset", "plot"),
    [
        ("interaction_matrix", "interactions_by_day_and_type"),
        ("interaction_matrix", "long_tail"),
        ("offline_evaluation", "plot"),
        ("offline_evaluation", "plot_exposure"),
        ("offline_evaluation", "plot_stages"),
        ("offline_evaluation", "plot_sources"),
        ("registered_model", "metric_history"),
        ("recommendations", "scores"),
    ],
)
def test_plots_are_in_the_metadata(trained, instance, asset: str, plot: str) -> None:
    (first,) = instance.fetch_materializations(dg.AssetKey(asset), limit=1, ascending=True).records
    shown = first.asset_materialization.metadata[plot].value
    assert shown.startswith(f"![plot](data:image/png;base64,{PNG}")


def test_a_version_is_live_with_what_is_needed_to_judge_it(trained, registry) -> None:
    champion = registry.champion()
    assert champion is not None
    assert {"ndcg_at_10", "recall_at_10", "map_at_10", "mrr_at_10", "hit_rate_at_10"} <= set(
        champion.metrics
    )
    assert {"coverage", "novelty", "popularity_bias", "ndcg_at_10.warm"} <= set(champion.metrics)
    assert "popularity.ndcg_at_10" in champion.metrics or champion.tags["recommender"] == (
        "popularity"
    )
    run = registry.client.get_run(champion.run_id)
    assert run.data.params["lightfm.loss"] == "warp"
    assert run.data.params["recommenders.ease.ridge"] == "500.0"
    assert run.data.metrics["train_seconds"] > 0
    assert run.data.tags["dagster_run_id"]
    assert run.data.tags["code_version"]
    assert len(run.inputs.dataset_inputs[0].dataset.digest) == 16
    metrics = champion.metrics
    assert metrics["ndcg_at_10.low"] < metrics["ndcg_at_10"] < metrics["ndcg_at_10.high"]
    assert {"diversity", "serendipity", "exposure.gini_owners"} <= set(metrics)
    kept = {one.path for one in registry.client.list_artifacts(run.info.run_id, "evaluation")}
    assert {"evaluation/table.md", "evaluation/plot_exposure.png"} <= kept


def test_all_recommenders_of_the_profile_compete(trained, registry, platform) -> None:
    first = registry.get("1")
    path = registry.client.download_artifacts(first.run_id, "evaluation.json")
    rows = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
    assert {row["recommender"] for row in rows} == set(platform.profile.recommenders)
    assert first.tags["recommender"] in platform.profile.recommenders
    others = set(platform.profile.recommenders) - {first.tags["recommender"]}
    assert {f"{name}.ndcg_at_10" for name in others} <= set(first.metrics)


VALUES = {"view": 1.0, "share": 2.0}


@pytest.mark.parametrize("name", ["user_knn-boosted", "heuristic"])
def test_whatever_wins_is_served(
    trained, instance, registry, without_plots, few_recommenders, with_profile, monkeypatch, name
) -> None:
    """Whoever would win: this one is told to."""
    from models.evaluation import comparison as training

    before, (base, kind) = registry.champion(), parts_of(name)
    with_profile(
        recommenders={base: {}, "popularity": {}},
        gate={"promote": "challenger"},
        ranker={"min_users": 2, "kinds": ["boosted"] if kind else [], "values": VALUES},
    )
    monkeypatch.setattr(training, "_choose", lambda *_: (base, "forced"))
    monkeypatch.setattr(training, "_with_best_ranker", lambda *_: (name, "forced"))
    assert run_job(
        instance, "daily", asset_selection=[dg.AssetKey(asset) for asset in MODEL[:-1]]
    ).success
    version = registry.newest()
    assert version.tags["recommender"] == name
    assert registry.champion() == before
    config = Config.from_json(version.tags["recipe"])
    assert config.recommender == name
    snapshot = Snapshot.load(trained.snapshots / version.version)
    assert snapshot.manifest.recommender == name
    assert (snapshot.personal and snapshot.has_model) == (name != "heuristic")
    ranker = ranker_of(snapshot)
    assert (ranker.kind if ranker else None) == kind
    assert f"{name}.ndcg_at_10" not in version.metrics  # as the winner, under its own name
    assert ("ranker.log_loss" in version.metrics) == (kind is not None)
    if ranker is not None:
        path = registry.client.download_artifacts(version.run_id, "ranker_report.json")
        actions = json.loads(Path(path).read_text(encoding="utf-8"))["actions"]
        assert actions["of"].keys() | actions["left_out"].keys() == VALUES.keys()
        learnt = () if ranker.actions is None else ranker.actions.names
        assert set(learnt) == actions["of"].keys()
        assert {f"ranker.actions.{name}.calibration_error" for name in learnt} <= set(
            version.metrics
        )
        (record,) = instance.fetch_materializations(dg.AssetKey("ranker"), limit=1).records
        assert ("actions" in record.asset_materialization.metadata) == bool(learnt)
    with_bias = snapshot.items.bias[: len(snapshot.items.ids)]
    assert len(np.unique(with_bias)) > 50


def test_the_snapshot_serves_the_champion(trained, registry) -> None:
    champion = registry.champion()
    snapshot = Snapshot.load(trained.snapshots / champion.version)
    assert snapshot.manifest.model_version == champion.version
    assert len(snapshot.items.ids) == 200
    assert snapshot.manifest.catalogue_position is not None


def test_lists_differ_between_users(trained, conn) -> None:
    lists = conn.execute(
        "SELECT user_id, array_agg(item_id ORDER BY rank) FROM feed.recommendations GROUP BY 1"
    ).fetchall()
    assert len(lists) > 50
    assert len({tuple(items[:10]) for _, items in lists}) > len(lists) / 2
    (without,) = conn.execute(
        "SELECT count(*) FROM feed.recommendations WHERE coalesce(reason->>'text', '') = ''"
    ).fetchone()
    assert without == 0


def test_a_new_day_costs_its_own_rows(trained, instance, conn) -> None:
    lake = Lake(trained.lake)
    before = {day: Path(lake.path(day)).stat().st_mtime_ns for day in lake.days()}
    today = datetime.now(UTC).date()
    event_id = add_interaction(conn, datetime.now(UTC) - timedelta(seconds=1))
    # What came with the load is older than the overlap that a run reads again.
    conn.execute(
        "UPDATE feed.interactions SET received_at = received_at - interval '1 hour'"
        " WHERE event_id <> %s",
        (event_id,),
    )
    run_job(
        instance,
        "daily",
        days=(min(before), today),
        asset_selection=[dg.AssetKey("interactions")],
    )
    changed = {
        day for day in lake.days() if before.get(day) != Path(lake.path(day)).stat().st_mtime_ns
    }
    assert changed == {today}
    assert event_id in lake.scan([today]).collect()["event_id"].to_list()


def test_bad_rows_are_kept_with_their_reason(trained, instance, conn) -> None:
    now = datetime.now(UTC) - timedelta(seconds=1)
    bad = add_interaction(conn, now, type="no type")
    good = add_interaction(conn, now)
    conn.execute("UPDATE feed.users SET lat = 'NaN' WHERE id = (SELECT max(id) FROM feed.users)")
    today = now.date()
    selection = [dg.AssetKey("interactions"), dg.AssetKey("users")]
    result = run_job(instance, "daily", days=(today, today), asset_selection=selection)
    assert result.success
    in_lake = Lake(trained.lake).scan([today]).collect()["event_id"].to_list()
    assert good in in_lake
    assert bad not in in_lake
    reasons = conn.execute("SELECT entity, reason, raw FROM feed.interactions_rejected").fetchall()
    assert any(entity == "interactions" and bad in raw for entity, _, raw in reasons)
    assert any(entity == "users" and "lat" in reason for entity, reason, _ in reasons)


def test_too_many_bad_rows_stop_the_run_and_leave_the_champion(
    trained, instance, conn, registry, without_plots
) -> None:
    champion, versions = registry.champion(), len(registry.versions())
    now = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(60):
        add_interaction(conn, now, type="no type")
    conn.execute(
        "UPDATE feed.items SET status = 'lost' WHERE id IN (SELECT id FROM feed.items LIMIT 50)"
    )
    try:
        result = run_job(instance, "daily", days=(now.date(), now.date()))
    finally:
        conn.execute("UPDATE feed.items SET status = 'published' WHERE status = 'lost'")
    assert not result.success
    failed = {
        check.asset_key.to_user_string()
        for check in result.get_asset_check_evaluations()
        if not check.passed
    }
    assert "items" in failed
    assert registry.champion() == champion
    assert len(registry.versions()) == versions
