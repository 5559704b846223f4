"""Profiles: those that ship load, wrong ones are refused with the field named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from models.profile.schema import SHIPPED, Profile, ProfileError, load_profile

GOOD = yaml.safe_load((SHIPPED / "marketplace.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["marketplace", "social", "events"])
def test_profiles_that_ship(name: str) -> None:
    assert load_profile(name).name == name


def test_the_marketplace_weights_are_those_of_the_design() -> None:
    weights = load_profile("marketplace").scorer_weights
    assert [*weights.values()] == [25, 20, 15, 10, 10, 10, 10]
    assert load_profile("marketplace").scorers.recency_half_life_days == 6.93


def test_each_domain_has_its_own_rules() -> None:
    marketplace, social, events = map(load_profile, ("marketplace", "social", "events"))
    assert all(one.eligibility.exclude_own for one in (marketplace, social, events))
    assert social.scorers.recency_half_life_days == 7
    assert all(
        one.eligibility.exclude_seen and one.eligibility.exclude_applied
        for one in (marketplace, social, events)
    )
    assert [one.eligibility.time_order for one in (marketplace, social, events)] == [
        "newest",
        "newest",
        "soonest",
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": "red"}, "colour: no such field"),
        ({"lightfm": {"dimz": 3}}, "lightfm.dimz: no such field"),
        ({"scorer_weights": {"tags": -1}}, "scorer_weights.tags"),
        ({"scorer_weights": {"tags": 0}}, "scorer_weights"),
        ({"scorer_weights": {"luck": 1}}, "scorer_weights.luck"),
        ({"scorer_weights": {}}, "scorer_weights"),
        ({"interaction_weights": {"stare": 1}}, "interaction_weights.stare"),
        ({"interaction_weights": {"view": -1}}, "interaction_weights"),
        ({"interaction_weights": {"view": float("nan")}}, "interaction_weights.view"),
        ({"interaction_weights": {"view": float("inf")}}, "interaction_weights.view"),
        ({"interaction_weights": {"view": 1e300}}, "interaction_weights.view"),
        ({"interaction_weights": {"view": "much"}}, "interaction_weights.view"),
        ({"interaction_types": {"Buy!": {}}}, "interaction_types.Buy!: "),
        ({"interaction_types": {"buy": {"weigth": 1}}}, "interaction_types.buy.weigth: no such"),
        (
            {"interaction_types": {"buy": {"undoes": ["x"]}}},
            "interaction_types.buy.undoes: no type 'x'",
        ),
        ({"interaction_types": {"buy": {"reason": "{name}"}}}, "interaction_types.buy.reason"),
        ({"interaction_types": {"buy": 3}}, "interaction_types.buy"),
        ({"scorers": {"max_distance_km": 0}}, "scorers.max_distance_km"),
        ({"lightfm": {"seed": -1}}, "lightfm.seed"),
        ({"evaluation": {"test_share": 1}}, "evaluation.test_share"),
        ({"name": None}, "name"),
        ({"eligibility": {"exclude_seen": "perhaps"}}, "eligibility.exclude_seen"),
        ({"eligibility": {"time_order": "oldest"}}, "eligibility.time_order"),
        ({"candidates": {"near": -1}}, "candidates.near"),
        ({"candidates": {"nearby": 1}}, "candidates.nearby: no such field"),
        ({"candidates": {"pool": 0}}, "candidates.pool"),
        ({"diversity": {"max_run_owner": 0}}, "diversity.max_run_owner"),
        ({"diversity": {"strength": 1.1}}, "diversity.strength"),
        ({"exploration": {"first_position": 0}}, "exploration.first_position"),
        ({"exploration": {"share": 2}}, "exploration.share"),
        ({"exploration": {"prior_clicks": 30}}, "exploration: Value error, prior_clicks"),
        ({"recommenders": {"als": {"dimz": 3}}}, "recommenders.als.dimz: no such field"),
        ({"recommenders": {"als": {"dims": "many"}}}, "recommenders.als.dims: Input should"),
        ({"recommenders": {"als": 3}}, "recommenders.als: Input should"),
        ({"recommenders": {"als": 0}}, "recommenders.als: Input should"),
        ({"recommenders": {"popularity": {"dims": 3}}}, "recommenders.popularity.dims: no such"),
        ({"recommenders": {"svd": {}}}, "recommenders: Value error, no recommender 'svd'; there"),
        ({"recommenders": {"svd": {}}}, "lightfm_hybrid, lightfm, als, bpr, nmf, pure_svd, ease"),
        ({"recommenders": {}}, "recommenders: Value error, name at least one of"),
        ({"recommenders": ["als"]}, "recommenders: Input should be a valid dictionary"),
        ({"recommenders": {"heuristic": {}}}, "recommenders: Value error, heuristic has no vec"),
        ({"serving": {"list_length": 0}}, "serving.list_length"),
        ({"serving": {"reuse_seconds": -1}}, "serving.reuse_seconds"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict, named: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GOOD | change), encoding="utf-8")
    with pytest.raises(ProfileError, match=r"mine\.yaml") as caught:
        load_profile(str(file))
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- a\n- list",
        b"name: [unclosed",
        b"\xff\xfe\xfa",
        b"just text",
        b"a: \x00",
        b"a: 2026-13-45",
        b"a: " + b"[" * 5_000,
        b"1: 2\n" + b"".join(b"field%d: 1\n" % n for n in range(5_000)),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(ProfileError, match=r"mine\.yaml") as caught:
        load_profile(str(file))
    assert len(str(caught.value)) < 1_000


def test_a_missing_file_names_what_ships(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.yaml"), str(tmp_path), "marketplaze"):
        with pytest.raises(ProfileError, match="events, marketplace, social"):
            load_profile(name)


def test_recommenders_in_order_with_their_settings(tmp_path: Path) -> None:
    social = load_profile("social").recommenders
    assert list(social)[:3] == ["lightfm_hybrid", "blend", "user_knn"]
    file = tmp_path / "mine.yaml"
    chosen = {"user_knn": {"neighbours": 7}, "als": None, "popularity": {}}
    file.write_text(yaml.safe_dump(GOOD | {"recommenders": chosen}, sort_keys=False))
    profile = load_profile(str(file))
    assert list(profile.recommenders) == ["user_knn", "als", "popularity"]
    dumped = profile.model_dump(mode="json")
    assert dumped["recommenders"]["user_knn"]["neighbours"] == 7
    again = Profile.model_validate(dumped)
    assert again == profile
    assert list(again.recommenders) == list(profile.recommenders)
    del dumped["recommenders"]  # as a snapshot of an earlier release has it
    assert "ease" in Profile.model_validate(dumped).recommenders


def test_reading_a_profile_brings_nothing_that_trains() -> None:
    """It would cost each process of the service seconds at its start."""
    code = "import sys; from models.profile.schema import load_profile; load_profile('social')"
    heavy = "{'implicit', 'lightfm', 'lightgbm', 'sklearn', 'scipy', 'numpy', 'polars'}"
    found = subprocess.run(
        [sys.executable, "-c", f"{code}; print({heavy} & set(sys.modules))"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "set()"
