"""The gate on a world whose good and bad models are known."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from models.catalogue.building import Catalogue, Vectors
from models.catalogue.tables.scores import Histories
from models.data.interactions.splits import split_moment
from models.evaluation import gate
from models.evaluation.comparison import Comparison, compare
from models.evaluation.gate import Paired, Report, Version
from models.profile.schema import Profile
from models.recommenders.base import Dataset
from models.recommenders.served import ByVectors, as_served
from models.recommenders.simple.popularity import PopularityRecommender
from models.recommenders.zoo import make
from models.versions.config import Config
from tests.models.worlds import PROFILE, dataset_of

NAME = PopularityRecommender.name
RECIPE = Config.of(NAME, PROFILE)


@pytest.fixture(scope="module")
def comparison(catalogue: Catalogue, interactions: pl.DataFrame) -> Comparison:
    split = split_moment(interactions.lazy(), 0.2)
    return compare(dataset_of(catalogue, interactions, as_of=split), interactions.lazy())


@pytest.fixture(scope="module")
def good(dataset: Dataset) -> Version:
    """Popularity, trained on everything."""
    vectors = PopularityRecommender().fit(dataset).vectors
    assert vectors is not None
    served = ByVectors(NAME, vectors, dataset.histories)
    return Version("2", NAME, RECIPE, dataset.users, dataset.items, served)


def biased(version: Version, bias: np.ndarray) -> Version:
    vectors = replace(version.served.vectors, bias=bias.astype(np.float32))
    return replace(version, served=replace(version.served, vectors=vectors))


@pytest.fixture
def judge(comparison, dataset, catalogue, interactions):
    def judge(
        candidate: Version, champion: Version | None, profile: Profile = PROFILE
    ) -> dict[str, gate.Finding]:
        def past(changed: Profile, as_of: datetime) -> Dataset:
            return dataset_of(catalogue, interactions, as_of=as_of, profile=changed)

        report = gate.judge(
            candidate,
            champion,
            comparison,
            dataset.users,
            dataset.items,
            profile,
            past,
            interactions.lazy(),
        )
        refused = {one.check for one in report.findings if one.status == "refused"}
        assert (report.refusal is not None) == bool(refused)
        return {one.check: one for one in report.findings}

    return judge


def statuses(findings: dict[str, gate.Finding]) -> dict[str, str]:
    return {check: one.status for check, one in findings.items()}


def test_the_first_version_is_only_asked_to_make_sense(judge, good) -> None:
    assert statuses(judge(good, None)) == {
        "random": "passed",
        "final": "passed",
    }


@pytest.mark.parametrize("kind", ["inverted", "shuffled"])
def test_a_collapse_is_refused(judge, good, kind: str) -> None:
    bias = good.served.vectors.bias
    bad = -bias if kind == "inverted" else np.random.default_rng(3).permutation(bias)
    found = statuses(judge(biased(good, bad), good))
    assert found["final"] == found["artifacts"] == "refused"
    assert found["split"] == "passed"  # the config is as good as ever
    assert "refused" in statuses(judge(biased(good, bad), None)).values()


def test_another_recipe_is_refitted_on_the_same_past(judge, good, comparison) -> None:
    changed = PROFILE.model_copy(
        update={"popularity": PROFILE.popularity.model_copy(update={"half_life_share": 1.0})}
    )
    other = replace(good, config=Config.of(NAME, changed))
    found = judge(good, other)
    assert "refitted on the same past" in found["split"].text
    assert found["split"].paired is not None
    assert found["split"].paired.candidate == pytest.approx(comparison.of(NAME).everybody.mean())
    assert found["split"].paired.difference != 0
    assert found["artifacts"].status == "skipped"
    of_the_others = replace(good, config=Config.of("heuristic", PROFILE), recommender="heuristic")
    split = judge(good, of_the_others)["split"]
    assert split.paired.champion == pytest.approx(  # fitted already for the comparison
        comparison.of("heuristic").everybody.mean()
    )
    unknown = replace(good, config=Config("heuristic", {"no_such": {}}))
    assert "cannot make" in judge(good, unknown)["split"].text
    assert "not known" in judge(good, replace(good, config=None))["split"].text


def by_vectors(name: str, dataset: Dataset, number: str = "3") -> Version:
    """A recommender trained on everything, as it is served."""
    served = as_served(make(name, PROFILE).fit(dataset), dataset)
    assert isinstance(served, ByVectors)
    config = Config.of(name, PROFILE)
    return Version(number, name, config, dataset.users, dataset.items, served)


@pytest.mark.parametrize("name", ["ease", "als", "user_knn"])
def test_any_recommender_by_the_vectors_that_serve(judge, dataset, comparison, name: str) -> None:
    version = by_vectors(name, dataset)
    found = judge(version, version)
    assert set(statuses(found).values()) == {"passed"}
    assert found["final"].paired.champion == pytest.approx(
        comparison.of(name).per_user["ndcg"].mean(), abs=0.05
    )
    right = version.served.vectors
    turned = {part: -weight for part, weight in right.blend.weights.items()}
    wrong = replace(
        right, users=-right.users, bias=-right.bias, blend=replace(right.blend, weights=turned)
    )
    broken = replace(version, served=replace(version.served, vectors=wrong))
    assert "refused" in statuses(judge(broken, version)).values()


@pytest.mark.parametrize(
    ("name", "settings"),
    [("ease", {"ridge": 5.0}), ("nmf", {"dims": 4}), ("lightfm", {"epochs": 2})],
)
def test_a_recipe_of_any_recommender_is_refitted(judge, good, name: str, settings: dict) -> None:
    """With its own settings, and whether or not the profile still names it."""
    changed = Profile.model_validate(
        PROFILE.model_dump() | {"recommenders": {name: settings, "popularity": {}}}
    )
    config = Config.from_json(Config.of(name, changed).to_json())
    assert config.settings["recommenders"][name].items() >= settings.items()
    split = judge(good, replace(good, config=config, recommender=name))["split"]
    assert f"({name}), refitted on the same past" in split.text
    assert split.paired.champion > 0


def test_recipes_of_earlier_releases(judge, good, comparison) -> None:
    """Their shape is that of today, so that nothing is refitted for an upgrade."""
    sections = PROFILE.model_dump(mode="json")
    old = Config(
        "lightfm_hybrid",
        {name: sections[name] for name in ("interaction_weights", "popularity", "lightfm")}
        | {"matrix": {"half_life_days": None}, "evaluation": {"heavy_user": 50}},
    )
    assert old == Config.of("lightfm_hybrid", PROFILE)
    split = judge(good, replace(good, config=old, recommender="lightfm_hybrid"))["split"]
    assert split.paired.champion == pytest.approx(comparison.of("lightfm_hybrid").everybody.mean())
    for unknown in (Config("svd", {}), Config("ease", {"recommenders": {"ease": {"depth": 3}}})):
        assert "cannot make" in judge(good, replace(good, config=unknown))["split"].text


def test_fewer_items_in_the_lists(judge, good, comparison) -> None:
    other = replace(good, config=Config.of("heuristic", PROFILE), recommender="heuristic")
    strict = PROFILE.model_copy(
        update={"gate": PROFILE.gate.model_copy(update={"max_coverage_drop": 0.0})}
    )
    wider = comparison.of("heuristic").metrics["coverage"] > comparison.of(NAME).metrics["coverage"]
    assert wider
    found = judge(good, other, strict)["split coverage"]
    assert found.status == "refused"
    assert "against" in found.text


def test_few_users_say_little(judge, good) -> None:
    strict = PROFILE.model_copy(
        update={"gate": PROFILE.gate.model_copy(update={"min_users": 10_000})}
    )
    found = statuses(judge(biased(good, -good.served.vectors.bias), good, strict))
    assert set(found.values()) == {"passed", "not_enough_data"}


def test_what_a_side_does_not_know(judge, good, dataset) -> None:
    """A champion of fewer items and users: compared by what both know."""
    known = np.arange(0, len(dataset.items), 2)
    of_all = good.served.vectors
    vectors = Vectors(of_all.users[::2], of_all.items[known], of_all.bias[known])
    smaller = replace(
        good,
        users=type(good.users).of(good.users.to_series()[::2]),
        items=type(good.items).of(good.items.to_series().gather(known)),
        served=ByVectors(NAME, vectors, Histories(dataset.matrix.liked[::2][:, known])),
    )
    found = judge(good, smaller)
    assert found["artifacts"].status == "passed"
    assert found["artifacts"].paired.difference == 0
    everything = gate.Frozen(smaller, good.users, good.items).score(np.array([0, 1]))
    assert np.isneginf(everything[:, 1::2]).all()
    assert (everything[:, known] == vectors.bias).all()


@pytest.mark.parametrize(
    ("difference", "spread", "worse"),
    [(-0.1, 0.0, True), (0.0, 0.0, False), (-0.02, 0.3, False), (-0.1, 0.1, True)],
)
def test_paired(difference: float, spread: float, worse: bool, rng) -> None:
    champion = np.full(100, 0.5)
    noise = rng.normal(0, 1, 100)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * spread
    found = Paired.of(champion + difference + noise, champion, confidence=0.95)
    assert found.difference == pytest.approx(difference)
    assert found.relative == pytest.approx(difference / 0.5)
    assert (found.p_worse < 0.05) == worse
    assert found.high - found.low == pytest.approx(2 * 1.9842 * spread / 10, abs=1e-4)


def test_a_report_says_why() -> None:
    report = Report("2", "1", ())
    assert report.refusal is None
    report = replace(report, findings=(gate.Finding("split", "refused", "much worse"),))
    assert report.refusal == report.to_dict()["refused"] == "split: much worse"


def test_a_recipe_with_a_ranker_is_refitted(judge, good, comparison) -> None:
    """The ranker too, and the version is judged with its own."""
    few = PROFILE.model_dump() | {"ranker": {"min_users": 2}}
    config = Config.of(f"{NAME}-boosted", Profile.model_validate(few))
    assert "boosted" in config.settings["ranker"]
    split = judge(good, replace(good, config=Config.from_json(config.to_json())))["split"]
    assert f"({NAME}-boosted), refitted" in split.text
    assert split.paired.champion != comparison.of(NAME).per_user["ndcg"].mean()


def test_a_champions_ranker_that_the_profile_no_longer_uses_is_left_out(
    judge, good, comparison
) -> None:
    """Or no version without a ranker could follow it, although it is served without."""
    config = Config.of(f"{NAME}-boosted", PROFILE)
    profile = Profile.model_validate(PROFILE.model_dump() | {"ranker": {"kinds": []}})
    split = judge(good, replace(good, config=config), profile)["split"]
    assert split.paired.champion == pytest.approx(comparison.of(NAME).everybody.mean())


@pytest.mark.parametrize(("not_worse", "status"), [(1.0, "passed"), (0.0, "refused")])
def test_a_final_ranker_that_does_harm_is_refused(judge, good, not_worse, status) -> None:
    measured = {"ranker.not_worse": not_worse, "ranker.ndcg": 0.1, "ranker.base_ndcg": 0.2}
    assert judge(replace(good, metrics=measured), None)["ranker"].status == status
    assert "ranker" not in judge(good, None)


def test_what_makes_a_rankers_features_is_part_of_its_recipe() -> None:
    changed = PROFILE.model_dump() | {"similarity": {"neighbours": 7}}
    other = Profile.model_validate(changed)
    assert Config.of("ease-boosted", PROFILE) != Config.of("ease-boosted", other)
    assert Config.of("ease", PROFILE) == Config.of("ease", other)
