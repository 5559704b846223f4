"""A ranker won the evaluation, and then there are too few users to teach the one that goes live."""

from __future__ import annotations

import dagster as dg
import pytest

from models import training
from models.ranking.training import TooLittleData
from models.recipe import Recipe
from models.snapshot import Snapshot
from orchestration.assets import training as assets
from tests.orchestration.conftest import MODEL, run_job


def test_the_recommender_goes_on_alone_and_the_verdict_says_so(
    trained, instance, registry, without_plots, with_profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_profile(
        recommenders={"user_knn": {}},
        gate={"promote": "challenger"},
        ranker={"min_users": 2, "kinds": ["boosted"]},
    )
    monkeypatch.setattr(training, "_choose", lambda evaluations, k: ("user_knn", "forced"))
    monkeypatch.setattr(training, "_with_best_ranker", lambda *_: ("user_knn-boosted", "forced"))

    def too_few(*_, **__):
        raise TooLittleData("3 users liked something, ranker.min_users is 100")

    monkeypatch.setattr(assets, "train_ranker", too_few)
    done = run_job(instance, "daily", asset_selection=[dg.AssetKey(asset) for asset in MODEL[:-1]])
    assert done.success
    version = registry.newest()
    assert version.tags["recommender"] == "user_knn"
    assert version.tags["verdict"].startswith("forced; ")
    assert "there is no ranker" in version.tags["verdict"]
    assert Recipe.from_json(version.tags["recipe"]).recommender == "user_knn"
    run = registry.client.get_run(version.run_id)
    assert run.data.tags["winner"] == "user_knn"
    assert run.data.metrics["ndcg_at_10"] == run.data.metrics["user_knn.ndcg_at_10"]
    assert not [name for name in run.data.metrics if name.startswith("ranker.")]
    assert Snapshot.load(trained.snapshots / version.version).ranker is None
