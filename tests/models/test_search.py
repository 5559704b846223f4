"""The search: what it may see, when it stops, and that it goes on where it was."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import optuna
import polars as pl
import pytest
import yaml
from optuna.trial import TrialState

from models.data.interactions.splits import split_moment
from models.evaluation import search
from models.evaluation.search import Budget, Trial, Window
from models.profile.recommender_settings import SETTINGS
from models.profile.schema import Profile
from models.recommenders.base import Dataset
from models.recommenders.spaces import SECTIONS, SPACES
from storage.loading.samples.marketplace import generate
from tests.models.worlds import NOW, PROFILE, catalogue_of_log, dataset_of

LOG = generate(80, 120, 6_000, days=20, seed=5, now=NOW)
CATALOGUE = catalogue_of_log(LOG)
ROWS = LOG.interactions.select("user_id", "item_id", "type", "occurred_at")
BUDGET = Budget(seconds=60, trials=15, patience=100)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def dataset_at(as_of: datetime) -> Dataset:
    return dataset_of(CATALOGUE, ROWS, as_of=as_of)


def windows_of(rows: pl.DataFrame, profile: Profile = PROFILE) -> tuple[list[Window], Window]:
    def past(as_of: datetime) -> Dataset:
        return dataset_of(CATALOGUE, rows, as_of=as_of, profile=profile)

    return search.windows(past, rows.lazy(), test_share=0.2, count=3, share=0.15)


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    return windows_of(ROWS)[0]


def told(recommender, profile, window, progress=None, *, seen=None) -> np.ndarray:
    """Stands in for a training: the best ridge is 100, and the first window is the easiest."""
    ridge = search.settings_of(profile, recommender).model_dump()["ridge"]
    if seen is not None:
        seen.append(ridge)
    if progress is not None:
        progress(1, 1)
    return np.full(3, 1 / (1 + abs(np.log(ridge / 100))))


@pytest.fixture
def quick(monkeypatch) -> list[float]:
    """No training; the ridges that were tried, a window each."""
    seen: list[float] = []
    monkeypatch.setattr(search, "ndcg", partial(told, seen=seen))
    return seen


def run(study, windows, budget: Budget = BUDGET, tell=lambda trial: None) -> search.Found:
    return search.search("ease", PROFILE, windows, study, budget, tell)


def fresh(name: str = "a study") -> optuna.Study:
    return search.open_study(optuna.storages.InMemoryStorage(), name)


def test_no_trial_sees_the_test_window() -> None:
    begins = split_moment(ROWS.lazy(), 0.2)
    later = pl.col("occurred_at") >= begins
    # The same moments, and after the split another item for each.
    other = ROWS.with_columns(
        item_id=pl.when(later).then(pl.col("item_id").reverse()).otherwise("item_id"),
        type=pl.when(later).then(pl.lit("apply")).otherwise("type"),
    )
    ours, test = windows_of(ROWS)
    theirs, other_test = windows_of(other)
    assert test.test.relevant.nnz != other_test.test.relevant.nnz
    assert len(ours) == len(theirs) == 3
    for one, same in zip(ours, theirs, strict=True):
        assert one.name == same.name
        assert one.dataset.as_of < begins
        assert abs(one.dataset.matrix.values - same.dataset.matrix.values).max() == 0
        assert abs(one.test.relevant - same.test.relevant).max() == 0
        np.testing.assert_array_equal(one.test.users, same.test.users)
    # The newest first, and each begins where the one before it ends.
    assert [one.dataset.as_of for one in ours] == sorted(
        (one.dataset.as_of for one in ours), reverse=True
    )
    assert test.dataset.as_of == begins


@pytest.mark.parametrize(("count", "share"), [(4, 0.25), (0, 0.1)])
def test_windows_that_leave_nothing_to_learn_from(count: int, share: float) -> None:
    with pytest.raises(ValueError, match="windows \\* window_share"):
        search.windows(dataset_at, ROWS.lazy(), test_share=0.2, count=count, share=share)


def test_better_settings_are_found_by_training(windows) -> None:
    profile = search.with_settings(PROFILE, "ease", {"ridge": 5_000.0})
    budget = Budget(60, 12, 100)
    found = search.search("ease", profile, windows, fresh(), budget)
    assert found.current.values["ridge"] == 5_000
    assert found.best.mean > found.current.mean
    changed = search.with_settings(profile, "ease", found.best.values)
    again = [float(search.ndcg("ease", changed, window).mean()) for window in windows]
    assert found.best.ndcg == pytest.approx(again)


def test_it_stops_by_each_part_of_the_budget(quick, windows) -> None:
    by_trials = run(fresh(), windows)
    assert by_trials.stopped == "trials"
    assert len(by_trials.trials) == 15
    by_patience = run(fresh(), windows, Budget(60, 1_000, 6))
    assert by_patience.stopped == "patience"
    assert by_patience.trials[-1].number - by_patience.best.number == 6
    by_time = run(fresh(), windows, Budget(0.0, 1_000, 6))
    assert by_time.stopped == "time"
    # What the profile says is measured whatever the time.
    assert by_time.best == by_time.current
    assert len(by_time.current.ndcg) == 3


def test_what_is_hopeless_is_given_up_early(quick, windows) -> None:
    found = run(fresh(), windows, Budget(60, 30, 100))
    given_up = [one for one in found.trials if one.pruned]
    assert given_up
    assert all(len(one.ndcg) < 3 for one in given_up)
    assert found.best.mean > 0.8


def test_settings_that_cannot_be_trained_with_end_nothing(windows, monkeypatch) -> None:
    def refuses(recommender, profile, window, progress=None):
        if profile.recommenders["ease"].model_dump()["ridge"] < 400:
            raise ValueError("no inverse")
        return told(recommender, profile, window)

    monkeypatch.setattr(search, "ndcg", refuses)
    found = run(fresh(), windows)
    assert {one.error for one in found.trials} == {None, "no inverse"}
    assert found.best.values["ridge"] >= 400


@pytest.mark.parametrize("where", ["between trials", "in a trial"])
def test_an_interrupted_search_goes_on(quick, windows, tmp_path: Path, where, monkeypatch) -> None:
    file, done = tmp_path / "studies" / "a.journal", []

    def stops(trial: Trial) -> None:
        done.append(trial)
        if len(done) == 5 and where == "between trials":
            raise KeyboardInterrupt

    def dies(*arguments, **more):
        if len(done) == 5:
            raise KeyboardInterrupt
        return told(*arguments, **more)

    if where == "in a trial":
        monkeypatch.setattr(search, "ndcg", dies)
    with pytest.raises(KeyboardInterrupt):
        run(search.open_study(search.journal(file), "a"), windows, tell=stops)
    monkeypatch.setattr(search, "ndcg", partial(told, seen=quick))
    with file.open("ab") as half:
        half.write(b'{"op_code": 5, "wor')  # as a power cut leaves it
    if where == "in a trial":
        Path(f"{file}.lock").symlink_to(file)  # as `kill -9` leaves it in the middle of writing
    before, quick[:] = [one.values for one in done], []
    study = search.open_study(search.journal(file), "a")
    assert [one.state for one in study.trials].count(TrialState.FAIL) == (where == "in a trial")
    found = run(study, windows)
    assert len(found.trials) == 15
    assert [one.values for one in found.trials[:5]] == before
    if where == "in a trial":  # what was under way comes first
        (failed,) = study.get_trials(states=(TrialState.FAIL,))
        assert found.trials[5].values == search.rounded(failed.params)
    # The settings of the profile are not measured again, and no proposal is repeated.
    tried = [one.values["ridge"] for one in found.trials]
    assert PROFILE.recommenders["ease"].model_dump()["ridge"] not in quick
    assert len(set(tried)) == len(tried)


def test_a_study_is_of_its_data_space_and_profile(windows, monkeypatch) -> None:
    name = partial(search.study_name, recommender="ease", chosen_by=windows)
    ours = name(PROFILE, data="a")
    changed = PROFILE.model_copy(update={"interaction_weights": {"apply": 1.0}})
    narrower = {"ridge": SPACES["ease"]["ridge"]}
    assert ours == name(PROFILE, data="a")
    # What is searched for is no part of it: a profile that takes the best goes on.
    assert ours == name(search.with_settings(PROFILE, "ease", {"ridge": 7.0}), data="a")
    monkeypatch.setitem(SPACES, "ease", narrower)
    others = {name(PROFILE, data="a"), name(PROFILE, data="b"), name(changed, data="a")}
    assert len(others | {ours}) == 4


def test_the_digest_is_of_the_rows_in_any_order() -> None:
    ours = search.digest(ROWS.lazy())
    assert ours == search.digest(ROWS.sample(fraction=1.0, shuffle=True, seed=1).lazy())
    assert ours != search.digest(ROWS.head(-1).lazy())


def test_the_lines_for_the_profile_are_what_was_tried(quick, windows) -> None:
    found = run(fresh(), windows)
    hybrid = search.Found(
        "lightfm_hybrid",
        found.current,
        Trial(1, {"dims": 20, "strength": 0.45}, [0.3], 1.0),
        [],
        "time",
    )
    lines = yaml.safe_load(search.snippet(PROFILE, [found, hybrid]))
    pasted = Profile.model_validate(PROFILE.model_dump(mode="json") | lines)
    assert list(pasted.recommenders) == list(PROFILE.recommenders)
    assert pasted.recommenders["ease"].model_dump()["ridge"] == found.best.values["ridge"]
    assert (pasted.lightfm.dims, pasted.lightfm.strength) == (20, 0.45)


@pytest.mark.parametrize("recommender", SPACES)
def test_settings_take_all_of_the_space(recommender: str) -> None:
    profile = search.naming(PROFILE, [recommender])
    for name, of in SPACES[recommender].items():
        bounds = vars(of)
        for value in bounds.get("choices") or (bounds["low"], bounds["high"]):
            changed = search.with_settings(profile, recommender, {name: value})
            assert getattr(search.settings_of(changed, recommender), name) == value
    assert recommender in SECTIONS or recommender in SETTINGS


def test_an_unknown_recommender_is_named() -> None:
    with pytest.raises(ValueError, match="no search for 'popularity'"):
        search.naming(PROFILE, ["popularity"])
