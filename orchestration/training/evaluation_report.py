"""The offline evaluation for people: tables and plots, in Dagster and in MLflow.

``docs/evaluation.md`` says how to read them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import dagster as dg
import numpy as np

from models.evaluation.comparison import Comparison
from models.evaluation.metrics import evaluation, list_quality
from models.evaluation.metrics.evaluation import Evaluation
from models.evaluation.metrics.exposure import AGES, HEADS, Exposure
from models.evaluation.metrics.list_quality import Interval
from models.evaluation.newcomers import newcomers
from models.versions.version import metric_name
from orchestration import plots
from orchestration.plots import Panel
from orchestration.training.breakdown_report import breakdown_figures, breakdown_tables

if TYPE_CHECKING:  # both take seconds to import
    from matplotlib.figure import Figure

    from storage.registry.registry import Registry

Rows = list[dict[str, object]]

FOLDER = "evaluation"
"""Of a run's artifacts in MLflow."""
TAKEN, ALL_ALIKE = "what users took", "all items alike"
PLOTTED_GROUPS = ("cold users", "warm users", "heavy users", evaluation.COLD_ITEMS)


@dataclass(frozen=True)
class Report:
    """
    Attributes:
        tables: name → Markdown.
        plots: name → PNG; ``plot`` is the one to look at first.
        intervals: metric of MLflow → value: the ends of the 95 % interval of nDCG, as
            ``ndcg_at_10.low`` and ``.high``, of all but the winner under ``<recommender>.``.
    """

    tables: dict[str, str]
    plots: dict[str, bytes]
    intervals: dict[str, float]

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        metric, intervals = metric_name(f"ndcg@{comparison.k}"), {}
        for name, interval in _intervals(comparison.evaluations, "ndcg").items():
            prefix = "" if name == comparison.winner else f"{name}."
            intervals[f"{prefix}{metric}.low"] = interval.low
            intervals[f"{prefix}{metric}.high"] = interval.high
        return cls(
            {name: plots.markdown(rows) for name, rows in tables(comparison).items()},
            {name: plots.png(draw) for name, draw in figures(comparison).items()},
            intervals,
        )

    def metadata(self) -> dict[str, dg.MetadataValue]:
        """For the asset."""
        shown = {name: dg.MetadataValue.md(text) for name, text in self.tables.items()}
        return shown | {name: plots.picture(image) for name, image in self.plots.items()}

    def log(self, registry: Registry, run_id: str) -> None:
        """As artifacts of the run in MLflow, and the intervals as metrics, beside those that
        ``tracking.log_comparison`` keeps."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, 0) for name, value in self.intervals.items()]
        registry.client.log_batch(run_id, metrics=metrics)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in self.tables.items():
                (Path(folder) / f"{name}.md").write_text(text)
            for name, image in self.plots.items():
                (Path(folder) / f"{name}.png").write_bytes(image)
            registry.client.log_artifacts(run_id, folder, FOLDER)


def tables(comparison: Comparison) -> dict[str, Rows]:
    return {
        "table": _table(comparison),
        "stages": _stages(comparison),
        "against_winner": _against_winner(comparison),
        "groups": _groups(comparison),
        **_without_history(comparison),
        "exposure": _exposure(comparison),
        **breakdown_tables(comparison.breakdown),
    }


def figures(comparison: Comparison) -> dict[str, Callable[[], Figure]]:
    """What draws each, best nDCG on top."""
    ordered, k, winner = _ordered(comparison), comparison.k, comparison.winner
    users = f"{ordered[0].metrics['users']:.0f} users"
    quality = [
        Panel(title, _points(_intervals(ordered, name)))
        for name, title in (
            ("ndcg", f"nDCG@{k}"),
            ("recall", f"recall@{k}"),
            ("hit_rate", f"hit rate@{k}"),
        )
    ]
    groups = [
        Panel(
            f"{name} ({len(ordered[0].groups[name])})",
            _points(_group_intervals(ordered, name)),
        )
        for name in PLOTTED_GROUPS
        if name in ordered[0].groups
    ]
    lists = [
        Panel(title, {entry.recommender: (entry.metrics[name], None, None) for entry in ordered})
        for name, title in (
            ("coverage", "coverage"),
            ("diversity", "diversity"),
            ("serendipity", "serendipity"),
            ("novelty", "novelty, bits"),
        )
    ]
    background = ordered[0].background
    ages = {entry.recommender: entry.exposure.ages for entry in ordered} | {
        TAKEN: background.consumed.ages,
        ALL_ALIKE: background.catalogue.ages,
    }
    there = np.flatnonzero(np.any(list(ages.values()), axis=0))
    stages = comparison.of(winner).stages(k)
    waterfall = {"plot_stages": partial(plots.waterfall, stages, f"nDCG@{k} of {winner} by stage")}
    return {
        **(waterfall if stages else {}),
        **breakdown_figures(comparison.breakdown, k),
        "plot": partial(
            plots.panels,
            quality,
            f"Offline evaluation, 95 % intervals over {users}",
            highlight=winner,
        ),
        "plot_groups": partial(
            plots.panels,
            groups,
            f"nDCG@{k} of groups (users), 95 % intervals",
            highlight=winner,
            same_scale=True,
        ),
        "plot_lists": partial(plots.panels, lists, "What the lists are like", highlight=winner),
        "plot_exposure": partial(
            plots.panels,
            _exposure_panels(ordered),
            "Who is shown: share of exposure",
            highlight=winner,
            same_scale=True,
        ),
        "plot_ages": partial(
            plots.shares,
            {name: of_row[there].tolist() for name, of_row in ages.items()},
            [AGES[place] for place in there],
            "Exposure by age of the item at the split",
        ),
    }


def _exposure_panels(ordered: list[Evaluation]) -> list[Panel]:
    consumed = ordered[0].background.consumed
    shown = {entry.recommender: entry.exposure for entry in ordered}
    heads = [
        Panel(
            f"most popular {head} % of items",
            {name: (entry.heads[number], None, None) for name, entry in shown.items()},
            lines={TAKEN: consumed.heads[number]},
        )
        for number, head in enumerate(HEADS)
    ]
    if np.isnan(consumed.top_owners):
        return heads
    owners = Panel(
        "the tenth of owners shown most",
        {name: (entry.top_owners, None, None) for name, entry in shown.items()},
        marks={
            "their items": {name: entry.their_items for name, entry in shown.items()},
            "their interactions": {name: entry.their_interactions for name, entry in shown.items()},
        },
    )
    return [*heads, owners]


def _table(comparison: Comparison) -> Rows:
    k = comparison.k
    intervals = _intervals(comparison.evaluations, "ndcg")
    rows: Rows = []
    for row in comparison.table().drop("users").to_dicts():
        name, ndcg = row.pop("recommender"), row.pop(f"ndcg@{k}")
        interval = intervals[name]
        shown = {f"ndcg@{k}": ndcg, "low": interval.low, "high": interval.high}
        rows.append({"recommender": name} | shown | row)
    return rows


def _stages(comparison: Comparison) -> Rows:
    """nDCG of the recommender alone, and of the feed after each stage."""
    return [
        {"recommender": entry.recommender}
        | {f"after {stage}": ndcg for stage, ndcg in entry.stages(comparison.k).items()}
        for entry in _ordered(comparison)
    ]


def _against_winner(comparison: Comparison) -> Rows:
    """The winner's nDCG less that of each other."""
    best = comparison.of(comparison.winner).per_user["ndcg"]
    others = [entry for entry in _ordered(comparison) if entry.recommender != comparison.winner]
    tested = [list_quality.paired(best, entry.per_user["ndcg"]) for entry in others]
    together = list_quality.holm(np.array([entry.p for entry in tested]))
    return [
        {
            "winner": comparison.winner,
            "less": other.recommender,
            "difference": test.difference.mean,
            "low": test.difference.low,
            "high": test.difference.high,
            "p": test.p,
            "p, all tests together": float(p),
            "p, signed rank": test.p_signed_rank,
        }
        for other, test, p in zip(others, tested, together, strict=True)
    ]


def _groups(comparison: Comparison) -> Rows:
    ordered = _ordered(comparison)
    return [
        {"group": name, "users": len(ndcg)}
        | {entry.recommender: float(entry.groups[name].mean()) for entry in ordered}
        for name, ndcg in ordered[0].groups.items()
    ]


def _without_history(comparison: Comparison) -> dict[str, Rows]:
    """Users and items without history: the feed beside the heuristic and popularity."""
    rows: Rows = []
    for group in newcomers(comparison):
        row: dict[str, object] = {"group": group.group, "users": group.users, **group.ndcg}
        if group.against_heuristic is not None:
            difference = group.against_heuristic.difference
            row |= {
                "feed less heuristic": difference.mean,
                "low": difference.low,
                "high": difference.high,
                "p": group.against_heuristic.p,
            }
        rows.append(row)
    return {"without_history": rows} if rows else {}


def _exposure(comparison: Comparison) -> Rows:
    ordered = _ordered(comparison)
    background = ordered[0].background
    shown: dict[str, Exposure] = {entry.recommender: entry.exposure for entry in ordered}
    shown |= {TAKEN: background.consumed, ALL_ALIKE: background.catalogue}
    rows = {
        name: {"popularity percentile": entry.percentile}
        | {f"top {head} % items": share for head, share in zip(HEADS, entry.heads, strict=True)}
        | {
            "Gini items": entry.gini_items,
            "Gini owners": entry.gini_owners,
            "top tenth of owners": entry.top_owners,
            "their items": entry.their_items,
            "their interactions": entry.their_interactions,
        }
        | {age: float(share) for age, share in zip(AGES, entry.ages, strict=True)}
        for name, entry in shown.items()
    }
    # A product without owners, or that does not say when items were made, has empty columns.
    columns = [
        name
        for name in rows[TAKEN]
        if any(row[name] == row[name] and row[name] for row in rows.values())
    ]
    return [
        {"of": name} | {column: row[column] for column in columns} for name, row in rows.items()
    ]


def _ordered(comparison: Comparison) -> list[Evaluation]:
    return sorted(comparison.evaluations, key=lambda entry: -entry.per_user["ndcg"].mean())


def _intervals(evaluations: list[Evaluation], name: str) -> dict[str, Interval]:
    return _by_name(evaluations, [each.per_user[name] for each in evaluations])


def _group_intervals(evaluations: list[Evaluation], group: str) -> dict[str, Interval]:
    return _by_name(evaluations, [entry.groups[group] for entry in evaluations])


def _by_name(
    evaluations: list[Evaluation], values: list[list_quality.Floats]
) -> dict[str, Interval]:
    intervals = list_quality.intervals(np.array(values))
    return dict(zip((each.recommender for each in evaluations), intervals, strict=True))


def _points(
    intervals: dict[str, Interval],
) -> dict[str, tuple[float, float | None, float | None]]:
    return {name: (of.mean, of.low, of.high) for name, of in intervals.items()}
