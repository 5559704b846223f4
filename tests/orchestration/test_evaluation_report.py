"""The report of an evaluation: whole for one recommender and for many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from models.evaluation.breakdown import ALL_SOURCES, Breakdown, SourceFinds, TableAdds
from models.evaluation.comparison import Comparison
from models.evaluation.metrics import evaluation
from models.evaluation.metrics.list_quality import paired
from models.evaluation.newcomers import newcomers
from models.recommenders import judging
from models.recommenders.simple.popularity import PopularityRecommender
from orchestration import plots
from orchestration.training.evaluation_report import ALL_ALIKE, TAKEN, Report, figures, tables
from tests.models.worlds import ago, catalogue_of, dataset_of, interactions_frame

USERS, ITEMS = 40, 30


def comparison(recommenders: int, *, owners: bool = True) -> Comparison:
    """Of copies of popularity, each a little worse than the one before."""
    catalogue = catalogue_of(
        [{"id": f"u{n:02}"} for n in range(USERS)],
        [{"id": f"i{n:02}", "owner_id": f"o{n % 4}" if owners else None} for n in range(ITEMS)],
    )
    rows = interactions_frame(
        [
            (f"u{user:02}", f"i{user * step % ITEMS:02}", "like", ago(days=9 - step))
            for user in range(USERS)
            for step in range(8)
        ]
    )
    dataset = dataset_of(catalogue, rows, as_of=ago(days=4))
    future = dataset_of(catalogue, rows.filter(rows["occurred_at"] >= ago(days=4))).matrix
    test = judging.test_set(dataset.matrix, future, heavy_user=5, max_users=99)
    judged = evaluation.evaluate(PopularityRecommender().fit(dataset), dataset, test, k=10)
    worse = [
        replace(
            judged,
            recommender=f"copy{number}",
            per_user=judged.per_user | {"ndcg": judged.per_user["ndcg"] * (1 - number / 20)},
        )
        for number in range(recommenders)
    ]
    return Comparison(ago(days=4), worse, "copy0", "", 10, test)


@pytest.mark.parametrize("count", [1, 11])
def test_a_report_has_all_tables_and_plots(count: int) -> None:
    compared = comparison(count)
    report = Report.of(compared)
    assert {"table", "against_winner", "groups", "exposure"} <= set(report.tables)
    assert all(image.startswith(b"\x89PNG") for image in report.plots.values())
    assert {"plot", "plot_groups", "plot_lists", "plot_exposure", "plot_ages"} <= set(report.plots)
    assert set(report.metadata()) == {*report.tables, *report.plots}
    mean = compared.of("copy0").per_user["ndcg"].mean()
    assert report.intervals["ndcg_at_10.low"] < mean < report.intervals["ndcg_at_10.high"]
    assert len(report.intervals) == 2 * count
    rows = tables(compared)
    assert len(rows["against_winner"]) == count - 1
    assert all(float(str(row["difference"])) > 0 for row in rows["against_winner"])
    assert [row["of"] for row in rows["exposure"]][count:] == [TAKEN, ALL_ALIKE]


def test_users_and_items_without_history_are_held_against_the_heuristic() -> None:
    judged = comparison(1).evaluations[0]
    ndcg = {
        "feed": ([0.5, 0.6, 0.7], [0.0, 0.1]),
        "heuristic": ([0.1, 0.2, 0.4], [0.3, 0.4]),
        "popularity": ([0.4, 0.4, 0.4], [0.0, 0.0]),
        "other": ([0.9, 0.9, 0.9], [0.9, 0.9]),
    }
    compared = replace(
        comparison(1),
        winner="feed",
        evaluations=[
            replace(
                judged,
                recommender=name,
                groups={"cold users": np.array(cold), "new items": np.array(new)},
            )
            for name, (cold, new) in ndcg.items()
        ],
    )
    users, items = newcomers(compared)
    assert (users.users, items.users) == (3, 2)
    assert users.ndcg == pytest.approx({"feed": 0.6, "heuristic": 0.7 / 3, "popularity": 0.4})
    assert users.warning is None
    assert items.warning is not None
    assert items.warning.startswith("items without history: feed is not better than the heuristic")
    assert "0.0500 against 0.3500" in items.warning
    rows = tables(compared)["without_history"]
    assert [row["group"] for row in rows] == ["users without history", "items without history"]
    assert rows[1]["feed less heuristic"] == pytest.approx(-0.3)
    alone = replace(compared, evaluations=compared.evaluations[:1])
    assert [group.warning for group in newcomers(alone)] == [None, None], "nothing to hold against"
    nobody = replace(compared, evaluations=[replace(judged, recommender="feed", groups={})])
    assert "without_history" not in tables(nobody)


def test_it_shows_what_the_winners_feed_is_made_of() -> None:
    plain = comparison(2)
    assert not {"plot_stages", "plot_sources", "plot_blend"} & set(figures(plain))
    ndcg = plain.of("copy0").per_user["ndcg"]
    stages = {"recommender": ndcg, "candidates": ndcg * 0.9, "ranker": ndcg, "diversity": ndcg}
    others = [one for one in plain.evaluations if one.recommender != "copy0"]
    compared = replace(
        plain,
        evaluations=[plain.of("copy0").with_stages(stages, 10), *others],
        breakdown=Breakdown(
            40,
            0.3,
            [SourceFinds("model", 200.0, 0.6, 0.2), SourceFinds(ALL_SOURCES, 900.0, 0.8, 0.8)],
            [TableAdds("ease", 2.0, 0.25, paired(ndcg, ndcg * 0.8))],
        ),
    )
    drawn, shown = figures(compared), tables(compared)
    bars = [one for one in drawn["plot_stages"]().axes[0].patches if isinstance(one, Rectangle)]
    assert [bar.get_height() for bar in bars[1:4]] == pytest.approx(
        [-0.1 * ndcg.mean(), 0.1 * ndcg.mean(), 0.0]
    )
    assert bars[-1].get_y() + bars[-1].get_height() == pytest.approx(ndcg.mean())
    assert [axes.get_title() for axes in drawn["plot_blend"]().axes] == ["nDCG@10 lost without it"]
    assert len(drawn["plot_sources"]().axes) == 3
    assert shown["blend"][0]["adds"] == pytest.approx(0.2 * ndcg.mean())
    assert [row["recall"] for row in shown["sources"]] == [0.6, 0.8]
    assert {"plot_stages", "plot_sources", "plot_blend"} <= set(Report.of(compared).metadata())


def test_a_product_without_owners_has_no_panel_of_them() -> None:
    compared = comparison(2, owners=False)
    assert [axes.get_title() for axes in figures(compared)["plot_exposure"]().axes] == [
        "most popular 1 % of items",
        "most popular 10 % of items",
    ]
    assert not [name for name in tables(compared)["exposure"][0] if "owners" in name]


def test_no_dot_lies_outside_of_its_panel() -> None:
    shown = [
        plots.Panel("a", {"one": (0.2, 0.1, 0.3), "two": (0.0, None, None)}),
        plots.Panel("b", {"one": (5.0, None, None), "two": (1.0, 0.5, 6.0)}, lines={"all": 7.0}),
    ]
    for same_scale in (False, True):
        parts = plots.panels(shown, "", same_scale=same_scale).axes
        for axes, panel in zip(parts, shown, strict=True):
            low, high = axes.get_xlim()
            values = [value for row in panel.rows.values() for value in row if value is not None]
            assert low <= 0
            assert np.max([*values, *panel.lines.values()]) < high
    assert parts[0].get_xlim() == parts[1].get_xlim()


@pytest.mark.parametrize("values", [[], [0.3] * 3, [0.3, np.nextafter(0.3, 1)], [np.nan], [1, 2]])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_any_values_have_a_distribution(values: list[float], kind: type, caplog) -> None:
    assert plots.png(plots.distribution, np.array(values, kind), "", "").startswith(b"\x89PNG")
    assert not caplog.records


def test_a_plot_that_cannot_be_drawn_fails_nothing(caplog) -> None:
    assert plots.png(plots.history, ["1"], [1.0, 2.0], "ndcg").startswith(b"\x89PNG")
    assert "a plot cannot be drawn" in caplog.text
