"""Profiles: those that ship load, wrong ones are refused with the field named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from models.profile import SHIPPED, ProfileError, load_profile

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
    assert events.eligibility.exclude_applied
    assert not marketplace.eligibility.exclude_applied
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
    "content", [b"", b"- a\n- list", b"name: [unclosed", b"\xff\xfe\xfa", b"just text", b"a: \x00"]
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(ProfileError, match=r"mine\.yaml"):
        load_profile(str(file))


def test_a_missing_file_names_what_ships(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none.yaml"), str(tmp_path), "marketplaze"):
        with pytest.raises(ProfileError, match="events, marketplace, social"):
            load_profile(name)
