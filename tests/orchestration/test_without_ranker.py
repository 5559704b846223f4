"""What won the evaluation cannot be trained on everything: the next best goes live, and says so."""

from __future__ import annotations

import dagster as dg
import pytest

from models.catalogue.building import NotFiniteError
from models.catalogue.snapshots.snapshot import Snapshot
from models.evaluation import comparison as training
from models.ranking.training.fitting import TooLittleData
from models.ranking.training.second_stage import SecondStage
from models.versions.config import Config
from tests.orchestration.conftest import MODEL, run_job


def test_the_recommender_goes_on_alone_and_the_verdict_says_so(
    trained, instance, registry, without_plots, with_profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_profile(
        recommenders={"user_knn": {}},
        gate={"promote": "challenger"},
        ranker={"min_users": 2, "kinds": ["boosted"]},
    )
    monkeypatch.setattr(training, "_with_best_ranker", lambda *_: ("user_knn-boosted", "forced"))

    from orchestration.training import models as assets

    class TooFew(SecondStage):
        def ranker(self, kind):
            raise TooLittleData("3 users liked something, ranker.min_users is 100")

    monkeypatch.setattr(assets, "SecondStage", TooFew)
    done = run_job(instance, "daily", asset_selection=[dg.AssetKey(asset) for asset in MODEL[:-1]])
    assert done.success
    version = registry.newest()
    assert version.tags["recommender"] == "user_knn"
    assert version.tags["verdict"].startswith("forced; ")
    assert "there is no ranker" in version.tags["verdict"]
    assert Config.from_json(version.tags["recipe"]).recommender == "user_knn"
    run = registry.client.get_run(version.run_id)
    assert run.data.tags["winner"] == "user_knn"
    assert "ndcg_at_10" in run.data.metrics
    assert "user_knn.ndcg_at_10" not in run.data.metrics  # it is the winner, under no name
    assert not [name for name in run.data.metrics if name.startswith("ranker.")]
    assert Snapshot.load(trained.snapshots / version.version).ranker is None


def test_the_next_best_goes_live_where_the_winner_cannot_be_trained(
    trained, instance, registry, without_plots, with_profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_profile(gate={"promote": "challenger"}, ranker={"kinds": []})
    from orchestration.training import models as assets

    fit = assets._trained

    def overflows(context, name: str, dataset, plan=None):
        if name != "popularity":
            raise NotFiniteError("users: some of the numbers are not finite")
        return fit(context, name, dataset, plan)

    monkeypatch.setattr(assets, "_trained", overflows)
    monkeypatch.setattr(training, "_best", lambda found, k: (found[0].recommender, "the first"))
    done = run_job(instance, "daily", asset_selection=[dg.AssetKey(asset) for asset in MODEL[:-1]])
    assert done.success
    (event,) = done.asset_materializations_for_node("recommender")
    left_out = event.metadata["left_out"].value
    assert isinstance(left_out, dict)
    assert set(left_out.values()) == {"NotFiniteError: users: some of the numbers are not finite"}
    version = registry.newest()
    assert version.tags["recommender"] == "popularity"
    names = ", ".join(left_out)
    assert version.tags["verdict"] == f"the first; left out, since not to be trained: {names}"
    tags = registry.client.get_run(version.run_id).data.tags
    assert {f"left_out.{name}": why for name, why in left_out.items()}.items() <= tags.items()
