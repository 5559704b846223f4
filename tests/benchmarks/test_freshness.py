"""The benchmark of freshness asks nobody about what the model was shown."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import numpy as np
import pytest

from benchmarks.common.worlds import Size
from benchmarks.freshness import FIRST, _known_users, _new_users, loss_per_day, main, marketplace
from benchmarks.parts.freshness_served import Record, Served
from models.recommenders.factorisation.als import ALS

SIZE = Size(300, 300, 8_000)


def test_the_loss_is_the_slope_of_a_line() -> None:
    by_age = np.array([[0.5, 0.4, 0.3], [0.2, 0.2, 0.2], [0.1, 0.2, 0.3]])
    np.testing.assert_allclose(loss_per_day(by_age, (0, 5, 10)), [0.02, 0, -0.02])


def test_nobody_is_asked_about_what_was_known() -> None:
    plan = marketplace(SIZE)
    window = plan.fresh[-1]
    asked = _known_users(plan, window)
    assert (np.diff(asked.test.relevant.indptr) > 0).all()
    assert not asked.test.relevant.multiply(asked.test.seen > 0).nnz
    moments = [row.occurred_at for rows in asked.events for row in rows]
    assert max(moments) <= window.start.timestamp()
    record, by_count = _new_users(plan, plan.new[0])
    known = set(record.dataset(plan.new[0].start).users.to_list())
    assert by_count.keys() <= set(FIRST)
    assert not any(known & set(of.users) for of in by_count.values())


def test_a_version_scores_as_its_model_and_then_as_its_users_go_on() -> None:
    plan = marketplace(SIZE)
    window = plan.fresh[-1]
    asked = _known_users(plan, window)
    dataset = plan.record.dataset(window.start)
    model = ALS().fit(dataset)
    served = Served(plan.record, dataset, model, window.start)
    scores = served.scores(asked, events=True)
    of_model = model.score(np.array([dataset.users.find(user) for user in asked.users]))
    assert scores == pytest.approx(of_model, abs=1e-5)
    before = plan.record.dataset(window.start - timedelta(14))
    aged = Served(plan.record, before, ALS().fit(before), window.start)
    without, folded = (aged.scores(asked, events=events) for events in (False, True))
    assert without.shape == folded.shape == scores.shape  # with the items that came since
    assert (without != folded).any(axis=1).mean() > 0.5


def test_films_fold_in() -> None:
    """All of them are published, else there is nothing to fold into."""
    record = Record.movielens(None)
    assert (record.catalogue.items["status"] == "published").all()


def test_it_prints_its_tables(capsys: pytest.CaptureFixture[str]) -> None:
    size = [f"--{name}={value}" for name, value in asdict(SIZE).items()]
    assert main([*size, "--models", "als", "--parts", "fold-in"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    ways = {(row["recommender"], row["way"]) for row in table["fold_in"]}
    assert {("als", way) for way in ("served fold-in", "own fold-in", "retrained")} < ways
    assert all(row["low"] <= row["ndcg@10"] <= row["high"] for row in table["fold_in"])
