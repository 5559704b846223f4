"""The registry against real MLflow stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from models.catalogue.snapshots.snapshot import Snapshot
from models.data.feature_set import FeatureSet
from models.data.interactions.splits import split_moment
from models.evaluation.comparison import Comparison, compare, fingerprint
from models.versions.config import Config
from models.versions.version import ModelVersion, RegistryAway, RegistryError
from storage.registry import tracking
from storage.registry.registry import Registry
from storage.settings import Settings, mlflow_tracking_uri
from tests.conftest import fast_folder
from tests.models.worlds import (
    NOW,
    ago,
    catalogue_of,
    dataset_of,
    interactions_frame,
    random_vectors,
    snapshot_of,
)

CATALOGUE = catalogue_of(
    [{"id": f"u{n}"} for n in range(12)] + [{"id": "ü'😀"}], [{"id": f"i{n:02}"} for n in range(30)]
)
ROWS = interactions_frame(
    [
        (f"u{user}", f"i{(user * 5 + step * 7) % 30:02}", "like", ago(days=40 - step - user / 99))
        for user in range(12)
        for step in range(9)
    ]
)
DATASET = dataset_of(CATALOGUE, ROWS)
VECTORS = random_vectors(DATASET)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    split = split_moment(ROWS.lazy(), 0.3)
    return compare(dataset_of(CATALOGUE, ROWS, as_of=split), ROWS.lazy())


@pytest.fixture(scope="module")
def store() -> Iterator[Path]:
    with fast_folder() as folder:
        yield folder


@pytest.fixture
def registry(store: Path) -> Registry:
    """An empty registered model in a store that the module shares."""
    return Registry(f"sqlite:///{store}/mlflow.db", f"feed-{uuid4().hex[:8]}", f"{store}/artifacts")


def trained(registry: Registry, comparison: Comparison) -> ModelVersion:
    """A whole training, as the pipeline logs it."""
    with training(registry) as run_id:
        tracking.log_comparison(registry, run_id, comparison)
        return tracking.register(
            registry,
            run_id,
            vectors=VECTORS,
            dataset=DATASET,
            comparison=comparison,
            trained_at=NOW,
        )


def training(registry: Registry, pipeline_run: str = "abc") -> AbstractContextManager[str]:
    return tracking.run(
        registry,
        name="a training",
        pipeline_run=pipeline_run,
        began=NOW,
        tags={"code_version": tracking.code_version()},
        params={"lightfm.dims": 32, "profile": "marketplace"},
        fingerprint=fingerprint(DATASET.matrix),
        source="a lake",
    )


def bare(registry: Registry, *, servable: bool = True) -> ModelVersion:
    """A version without a model, which is quick."""
    run = registry.client.create_run(registry.experiment_id())
    made = registry.register(run.info.run_id, "runs:/none", {"trained_at": NOW.isoformat()})
    if servable:
        registry.client.log_text(run.info.run_id, "{}", "snapshot/manifest.json")
        registry.client.set_model_version_tag(
            registry.model_name, made.version, "snapshot_artifact", "snapshot"
        )
    return registry.get(str(made.version))


def test_a_run_ends_with_its_training_and_a_second_try_goes_on_with_it(
    registry: Registry,
) -> None:
    def ended(error: type[BaseException]) -> tuple[str, str]:
        ids = []
        with suppress(error), training(registry, "another") as run_id:
            ids.append(run_id)
            assert registry.client.get_run(run_id).info.status == "RUNNING"
            raise error
        return ids[0], registry.client.get_run(ids[0]).info.status

    first, failed = ended(ValueError)
    again, killed = ended(KeyboardInterrupt)
    assert (failed, killed) == ("FAILED", "KILLED")
    assert again == first
    with training(registry, "another") as run_id:
        pass
    run = registry.client.get_run(run_id).info
    assert (run.run_id, run.status) == (first, "FINISHED")
    assert run.start_time == int(NOW.timestamp() * 1000)


def live(registry: Registry) -> str | None:
    champion = registry.champion()
    return champion.version if champion else None


def test_a_training_is_kept_whole(registry: Registry, comparison: Comparison) -> None:
    version = trained(registry, comparison)
    assert version.version == "1"
    assert version.aliases == ()
    assert version.trained_at == NOW.isoformat()
    assert version.tags["recommender"] == comparison.winner
    assert version.tags["verdict"] == comparison.verdict
    assert version.tags["model_id"]
    assert not version.has_snapshot
    winner = comparison.of(comparison.winner).metrics
    assert version.metrics["ndcg_at_10"] == pytest.approx(winner["ndcg@10"])
    for name in ("recall_at_10", "map_at_10", "mrr_at_10", "hit_rate_at_10", "coverage", "novelty"):
        assert name in version.metrics
    others = {one.recommender for one in comparison.evaluations} - {comparison.winner}
    assert {f"{other}.ndcg_at_10" for other in others} <= set(version.metrics)

    run = registry.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lightfm.dims": "32", "profile": "marketplace"}
    assert run.data.tags["dagster_run_id"] == "abc"
    assert run.data.tags["code_version"]
    assert run.data.tags["winner"] == comparison.winner
    assert run.inputs is not None
    dataset = run.inputs.dataset_inputs[0].dataset
    assert (dataset.name, dataset.digest) == ("interactions", fingerprint(DATASET.matrix))
    path = registry.client.download_artifacts(version.run_id, "evaluation.json")
    assert len(json.loads(Path(path).read_text())["rows"]) == len(comparison.evaluations)
    history = registry.client.get_metric_history(version.run_id, "ndcg_at_10")
    assert history[0].timestamp > NOW.timestamp() * 1000 - timedelta(days=3650).total_seconds()


def test_the_model_loads_by_alias_and_predicts(
    registry: Registry, comparison: Comparison, snapshot: Snapshot
) -> None:
    version = trained(registry, comparison)
    registry.add_snapshot(version, snapshot_folder(registry))
    registry.activate(version.version)
    model = mlflow.pyfunc.load_model(f"models:/{registry.model_name}@champion")
    asked = pd.DataFrame({"user_id": ["u3", "nobody", "ü'😀"]})
    answer = model.predict(asked)
    assert answer["user_id"].tolist() == ["u3"] * 10 + ["nobody"] * 10 + ["ü'😀"] * 10
    assert answer["rank"].tolist() == [*range(1, 11)] * 3
    row = DATASET.users.find("u3")
    scores = VECTORS.items @ VECTORS.users[row] + VECTORS.bias
    best = np.argsort(-scores)[:10]
    assert answer["item_id"].tolist()[:10] == [DATASET.items[int(item)] for item in best]
    assert answer["score"].to_numpy()[:10] == pytest.approx(scores[best], abs=1e-5)
    popular = np.argsort(-VECTORS.bias)[:10]
    assert answer["item_id"].tolist()[10:20] == [DATASET.items[int(item)] for item in popular]
    limited = model.predict(pd.DataFrame({"user_id": ["u3", "u4"], "limit": [2, 99]}))
    assert limited["user_id"].value_counts().to_dict() == {"u4": 30, "u3": 2}
    assert model.predict(asked.head(0)).columns.tolist() == answer.columns.tolist()


def snapshot_folder(registry: Registry) -> Path:
    """A small snapshot on disk, beside the store."""
    root = Path(str(registry._artifacts)).parent
    return snapshot_of(DATASET, VECTORS).save(root / f"snapshot-{registry.model_name}")


def test_a_model_of_other_features_does_not_load(
    registry: Registry, comparison: Comparison
) -> None:
    version = trained(registry, comparison)
    features = FeatureSet.of(DATASET.user_features, DATASET.item_features)
    assert version.tags["feature_digest"] == features.digest
    assert version.tags["recipe"] == Config.of(comparison.winner, DATASET.profile).to_json()
    uri = f"models:/{registry.model_name}/{version.version}"
    model = Path(mlflow.artifacts.download_artifacts(uri))
    (kept,) = model.rglob("features.json")
    kept.write_bytes(FeatureSet(["city:Graz"], []).to_bytes())
    with pytest.raises(ValueError, match=r"trained on .*1 of users \(city:Graz\)"):
        mlflow.pyfunc.load_model(str(model))


def test_what_can_be_served_goes_on_trial(registry: Registry) -> None:
    assert registry.newest() is None
    bare(registry, servable=False)
    with pytest.raises(RegistryError, match="no snapshot"):
        registry.put_on_trial("1")
    for number in ("2", "3"):
        bare(registry)
        assert registry.put_on_trial(number).aliases == ("challenger",)
    assert registry.challenger() == registry.newest() == registry.get("3")


def test_snapshots_are_kept_with_their_version(registry: Registry, tmp_path: Path) -> None:
    version = bare(registry, servable=False)
    with pytest.raises(RegistryError, match="version 1 has no snapshot"):
        registry.fetch_snapshot(version, tmp_path)
    registry.add_snapshot(version, snapshot_folder(registry))
    fetched = registry.fetch_snapshot(registry.get("1"), tmp_path)
    assert Snapshot.load(fetched).items.ids.to_list() == DATASET.items.to_list()


def test_nothing_is_registered_yet(registry: Registry) -> None:
    assert registry.champion() is None
    assert registry.challenger() is None
    assert registry.versions() == []
    assert registry.history() == []
    assert registry.earlier(None) == []


def after_withdrawing(registry: Registry, version: str, *passed_over: str) -> str | None:
    """What is live then."""
    champion = registry.withdraw(version, "it hurts", passed_over)
    assert live(registry) == (champion.version if champion else None)
    return live(registry)


def test_activate_and_withdraw(registry: Registry) -> None:
    for number in ("1", "2", "3"):
        version = bare(registry)
        registry.client.set_registered_model_alias(
            registry.model_name, "challenger", version.version
        )
        assert registry.activate(number).aliases == ("champion",)
        assert registry.challenger() is None
    assert registry.history() == ["1", "2", "3"]
    assert registry.activate("3").version == "3"
    assert registry.history() == ["1", "2", "3"]  # nothing changed
    assert [one.version for one in registry.versions()] == ["3", "2", "1"]

    for _ in range(2):  # twice is once
        assert after_withdrawing(registry, "3") == "2"
        assert registry.history() == ["1", "2"]
    assert registry.get("3").tags["withdrawn"] == "it hurts"
    assert after_withdrawing(registry, "2") == "1"
    assert after_withdrawing(registry, "1") is None
    assert registry.history() == []
    assert "withdrawn" not in registry.activate("1").tags


def test_withdrawing_what_is_not_live_leaves_the_champion_alone(registry: Registry) -> None:
    for number in ("1", "2"):
        bare(registry)
        registry.activate(number)
    bare(registry)
    registry.client.set_registered_model_alias(registry.model_name, "challenger", "3")
    assert after_withdrawing(registry, "3") == "2"
    assert registry.challenger() is None
    assert after_withdrawing(registry, "1") == "2"
    assert registry.history() == ["2"]
    assert after_withdrawing(registry, "77") == "2"  # deleted meanwhile


def test_an_older_version_may_be_activated_again(registry: Registry) -> None:
    for number in ("1", "2"):
        bare(registry)
        registry.activate(number)
    registry.activate("1")
    assert registry.history() == ["1", "2", "1"]
    assert after_withdrawing(registry, "1") == "2"
    assert registry.history() == ["2"]


def test_a_refused_version_says_why(registry: Registry) -> None:
    bare(registry)
    registry.activate("1")
    second = bare(registry)
    assert live(registry) == "1"
    registry.refuse(second, "worse")
    assert registry.get("2").tags["refused"] == "worse"


def test_deleted_and_named_versions_are_passed_over(registry: Registry) -> None:
    for number in ("1", "2", "3", "4"):
        bare(registry)
        registry.activate(number)
    registry.client.delete_model_version(registry.model_name, "2")
    assert registry.earlier("4") == ["1", "3"]
    assert after_withdrawing(registry, "4", "3") == "1"


def test_what_was_before_goes_by_what_is_live(registry: Registry) -> None:
    """Someone moved the alias in MLflow itself."""
    for number in ("1", "2"):
        bare(registry)
        registry.activate(number)
    bare(registry)
    registry.client.set_registered_model_alias(registry.model_name, "champion", "3")
    assert after_withdrawing(registry, "3") == "2"


def test_a_change_that_broke_off_is_no_champion(registry: Registry) -> None:
    for number in ("1", "2", "3"):
        bare(registry)
        registry.activate(number)
    # The alias had moved back, the history was not written yet.
    registry.client.set_registered_model_alias(registry.model_name, "champion", "2")
    assert after_withdrawing(registry, "2") == "1"


def test_what_cannot_serve_is_not_activated(registry: Registry) -> None:
    bare(registry, servable=False)
    with pytest.raises(RegistryError, match="no snapshot"):
        registry.activate("1")
    assert live(registry) is None
    assert registry.history() == []


@pytest.mark.parametrize("version", ["9", "abc", "", "-1", "9" * 30])
def test_unknown_versions(registry: Registry, version: str) -> None:
    bare(registry)
    for ask in (registry.get, registry.activate):
        with pytest.raises(RegistryError, match=r"no model version .*models list"):
            ask(version)


def test_a_store_that_does_not_answer(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MlflowException("connection refused")

    monkeypatch.setattr(registry.client, "get_model_version", fail)
    monkeypatch.setattr(registry.client, "get_model_version_by_alias", fail)
    for ask in (lambda: registry.get("1"), registry.champion, lambda: registry.withdraw("1", "")):
        with pytest.raises(RegistryAway, match="does not answer"):
            ask()


def test_on_the_database_of_the_platform(settings: Settings, database: str) -> None:
    registry = Registry(mlflow_tracking_uri(settings, database), "feed", settings.artifacts)
    assert registry.champion() is None
    for number in ("1", "2"):
        version = bare(registry, servable=False)
        registry.add_snapshot(version, snapshot_folder(registry))
        registry.activate(number)
    assert after_withdrawing(registry, "2") == "1"
    for version in ("7", "abc", "9" * 30):  # type: ignore[assignment]
        with pytest.raises(RegistryError, match="no model version"):
            registry.get(str(version))
