"""Each profile that ships, on data of its own kind: its rules hold, and its feeds make sense."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Literal

import numpy as np
import pytest

from models.catalogue.live import LiveCatalogue
from models.data import scorers
from models.feed.candidates.shortlists import Shortlists
from models.feed.candidates.sources import Indexes
from models.feed.pipeline import FeedPipeline, Query
from models.feed.ranking import Ranking
from models.profile.schema import Profile, load_profile
from storage.loading.samples import events, marketplace, social
from tests.models.worlds import NOW, catalogue_of_log, dataset_of, random_vectors, snapshot_of

By = Literal["model", "heuristic", "time"]
NOW_SECONDS = NOW.timestamp()
SAMPLES: dict[str, ModuleType] = {"marketplace": marketplace, "social": social, "events": events}
WAYS: tuple[By, ...] = ("model", "heuristic", "time")


@dataclass(frozen=True)
class World:
    profile: Profile
    live: LiveCatalogue
    shortlists: Shortlists
    indexes: Indexes

    def feed(self, user_id: str, by: By, *, rng: np.random.Generator | None = None) -> Ranking:
        pipeline = FeedPipeline(self.live, self.profile, self.shortlists, self.indexes)
        return pipeline.rank(self.live.viewer(user_id), Query(NOW_SECONDS, by, rng=rng))

    @property
    def user_ids(self) -> list[str]:
        return self.live.users.ids.to_list()


@cache
def world(name: str) -> World:
    log = SAMPLES[name].generate(150, 600, 20_000, seed=2, now=NOW)
    profile = load_profile(name)
    # a source that a busy machine makes slow must not change what is tested
    unhurried = profile.candidates.model_copy(update={"time_budget_ms": 10_000.0})
    profile = profile.model_copy(update={"candidates": unhurried})
    dataset = dataset_of(catalogue_of_log(log), log.interactions, profile=profile)
    live = LiveCatalogue(snapshot_of(dataset, random_vectors(dataset)))
    rng = np.random.default_rng(0)
    shortlists = Shortlists.of(live, profile, NOW_SECONDS, rng)
    return World(profile, live, shortlists, Indexes.of(live, profile))


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("name", SAMPLES)
def test_the_rules_of_the_profile_hold(name: str, by: By) -> None:
    here = world(name)
    items, rules = here.live.items, here.profile.eligibility
    for user_id in here.user_ids[::5]:
        rows = here.feed(user_id, by, rng=np.random.default_rng(0)).rows
        viewer = here.live.viewer(user_id)
        assert len(rows) > 20
        assert len(np.unique(rows)) == len(rows)
        assert items.published[rows].all()
        assert not (items.publish_at[rows] > NOW_SECONDS).any()
        assert viewer.own < 0 or not (items.owner[rows] == viewer.own).any()
        if rules.exclude_started:
            assert not (items.starts_at[rows] < NOW_SECONDS).any()
        if rules.exclude_full:
            limited = rows[items.capacity[rows] >= 0]
            assert (items.applied[limited] < items.capacity[limited]).all()
        if rules.exclude_applied:
            assert not np.isin(rows, viewer.applied).any()


@pytest.mark.parametrize("name", SAMPLES)
def test_exploration_takes_its_share_of_the_first_places_and_no_more(name: str) -> None:
    """After diversity and all: of the places that may explore, each list's first ten."""
    here = world(name)
    settings = here.profile.exploration
    places = slice(settings.first_position - 1, 10)
    drawn, rng = [], np.random.default_rng(1)
    for user_id in here.user_ids:
        for _ in range(4):
            ranking = here.feed(user_id, "model", rng=rng)
            drawn.append(ranking.explored[places])
    share, slots = np.mean(drawn), np.size(drawn)
    noise = (settings.share * (1 - settings.share) / slots) ** 0.5
    assert abs(share - settings.share) < 4 * noise


def test_the_data_put_every_rule_to_the_test() -> None:
    """Where nothing breaks a rule, that it holds says nothing."""
    meetings, posts = world("events"), world("social")
    items = meetings.live.items
    coming = items.published & (items.starts_at > NOW_SECONDS)
    assert (~items.published[: meetings.live.size]).any()
    assert (items.published & (items.starts_at < NOW_SECONDS)).any()
    assert (coming & (items.publish_at > NOW_SECONDS)).any()
    assert (coming & (items.capacity >= 0) & (items.applied >= items.capacity)).any()
    registered = [meetings.live.viewer(user_id).applied for user_id in meetings.user_ids[::5]]
    assert coming[np.concatenate(registered)].any()
    writers = [user_id for user_id in posts.user_ids[::5] if posts.live.viewer(user_id).own >= 0]
    assert len(writers) > 5


def test_by_time_events_come_soonest_first_and_posts_newest_first() -> None:
    meetings, posts = world("events"), world("social")
    starts = meetings.live.items.starts_at[meetings.feed("u1", "time").rows]
    assert (np.diff(starts) >= 0).all()
    created = posts.live.items.created_at[posts.feed("u1", "time").rows]
    assert (np.diff(created) <= 0).all()


@pytest.mark.parametrize("name", SAMPLES)
def test_no_owner_or_category_takes_the_top_over(name: str) -> None:
    here = world(name)
    items, limits = here.live.items, here.profile.diversity
    for user_id in here.user_ids[::15]:
        rows = here.feed(user_id, "heuristic").rows[:30]
        for column, limit in (
            (items.owner, limits.max_run_owner),
            (items.category, limits.max_run_category),
        ):
            if limit is not None:
                assert longest_run(column[rows]) <= limit


def longest_run(values: np.ndarray) -> int:
    breaks = np.flatnonzero(np.diff(values)) + 1
    return int(np.diff(np.concatenate(([0], breaks, [len(values)]))).max())


def test_listings_near_by_are_on_top_for_a_user_with_a_place() -> None:
    here = world("marketplace")
    items, limit = here.live.items, here.profile.scorers.max_distance_km
    top, everywhere = [], []
    for user_id in here.user_ids:
        viewer = here.live.viewer(user_id)
        if viewer.has_place:
            rows = here.feed(user_id, "heuristic").rows
            km = scorers.haversine_km(viewer.lat, viewer.lon, items.lat[rows], items.lon[rows])
            if (km < limit).sum() >= 5:
                top.append((km[:5] < limit).mean())
                everywhere.append((km < limit).mean())
    assert len(top) > 50
    assert np.mean(top) > 0.5 > 5 * np.mean(everywhere)


def test_posts_on_top_are_young_and_of_a_topic_that_the_member_chose() -> None:
    here = world("social")
    items = here.live.items
    top_age, all_age, top_match, all_match = [], [], [], []
    for user_id in here.user_ids:
        viewer = here.live.viewer(user_id)
        rows = here.feed(user_id, "heuristic").rows
        age = NOW_SECONDS - items.created_at[rows]
        top_age.append(age[:10].mean())
        all_age.append(age.mean())
        if len(viewer.tags):
            match = scorers.tags(viewer.tags, items.tags[rows], len(here.live.tags)) > 0
            top_match.append(np.mean(match[:10]))
            all_match.append(np.mean(match))
    assert np.mean(top_age) < 0.8 * np.mean(all_age)
    assert np.mean(top_match) > 2 * np.mean(all_match)
