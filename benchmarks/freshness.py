"""What fold-in is worth to new users, and what a model loses a day: how often to retrain.

    python -m benchmarks.freshness [--path FOLDER_OF_A_MOVIELENS] [--models als] [--plot FILE]

Models are judged as the service has them (``freshness_served.py``): trained at a moment, put into
a snapshot, and asked later. Prints one JSON document, and tables for people on standard error.
``docs/freshness.md`` says what was measured.
"""

from __future__ import annotations

import json
import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.common import report
from benchmarks.common.report import log
from benchmarks.common.worlds import Size
from benchmarks.parts.freshness_served import Asked, Record, Scores, Served, own_fold_in
from models.evaluation.metrics import list_quality
from models.recommenders import judging
from models.recommenders.base import Recommender
from models.recommenders.simple.popularity import PopularityRecommender
from models.recommenders.zoo import ZOO

K = 10
FIRST = (1, 2, 3, 5, 10)
NEW_SHARE = 0.3
"""Of the users of the synthetic log: what they did before the training is taken out, so that they
come as new ones. By themselves nearly all come in its first days."""
MODELS = ("lightfm_hybrid", "als", "ease", "user_knn")
POPULARITY, HEURISTIC = "popularity", "heuristic"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A model trained at ``start`` or before is judged by what is liked until ``end``."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Plan:
    """One log, and how it is cut.

    Attributes:
        new: windows of fold-in: their users came within them.
        fresh: windows of freshness, and ``ages`` of the models in days.
        midway: ask in the middle of what each user does in the window, where hardly anybody
            comes back in a later one; False: at its start.
    """

    name: str
    record: Record
    new: list[Window]
    fresh: list[Window]
    ages: tuple[int, ...]
    midway: bool


def makers(names: Sequence[str]) -> dict[str, Callable[[], Recommender]]:
    return {name: ZOO[name] for name in names}


def marketplace(size: Size) -> Plan:
    record = Record.marketplace(size)
    moments = record.interactions["occurred_at"]
    end = moments.max()
    assert isinstance(end, datetime)
    weeks = [Window(end - timedelta(7 * (k + 1)), end - timedelta(7 * k)) for k in (2, 1, 0)]
    middle = moments[len(moments) // 2]
    ages = (0, 1, 2, 3, 5, 7, 14)
    return Plan("marketplace", record, [Window(middle, end)], weeks, ages, midway=False)


def movielens(path: Path) -> Plan:
    record = Record.movielens(path)
    moments, rows = record.interactions["occurred_at"], len(record.interactions)
    ends = [moments[min(int(share * rows), rows - 1)] for share in (0.5, 0.75, 1)]
    new = [Window(start, end) for start, end in pairwise(ends)]
    years = [datetime(year, 1, 1, tzinfo=ends[0].tzinfo) for year in range(2015, 2020)]
    fresh = [Window(start, end) for start, end in pairwise(years)]
    return Plan(path.name, record, new, fresh, (0, 30, 91, 182, 365), midway=True)


def judged(asked: Asked, scores: Scores) -> Floats:
    """nDCG@10 of each user."""
    return judging.ndcg_and_coverage(_Scored(scores), asked.test, k=K)[0]


class _Scored:
    """Scores that are made already: users are their rows."""

    name = "scored"

    def __init__(self, scores: Scores) -> None:
        self._scores = scores

    def score(self, users: NDArray[np.integer]) -> Scores:
        return self._scores[users]


def fold_in(plan: Plan, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each row: one recommender and way, for new users after their first n liked items."""
    ndcg_of: dict[tuple[str, str, int], list[Floats]] = {}
    for window in plan.new:
        record, asked = _new_users(plan, window)
        dataset = record.dataset(window.start)
        retrained = {n: record.dataset(window.start, also=of.before) for n, of in asked.items()}
        for name, make in ({POPULARITY: PopularityRecommender} | makers(names)).items():
            model = make().fit(dataset)
            served = Served(record, dataset, model, window.start)
            for n, of in asked.items():
                ways: dict[str, Scores] = {}
                if name == POPULARITY:
                    ways["none"] = served.scores(of, events=False)
                    ndcg_of.setdefault((HEURISTIC, "none", n), []).append(
                        judged(of, served.scores(of, events=False, model=False))
                    )
                    ndcg_of.setdefault((HEURISTIC, "events", n), []).append(
                        judged(of, served.scores(of, events=True, model=False))
                    )
                else:
                    ways["served fold-in"] = served.scores(of, events=True)
                    ways["own fold-in"] = own_fold_in(model, dataset, of)
                    again = retrained[n]
                    rows = again.users.indices(pl.Series(of.users))
                    ways["retrained"] = make().fit(again).score(rows)
                for way, scores in ways.items():
                    ndcg_of.setdefault((name, way, n), []).append(judged(of, scores))
            log.info("%s, new users from %s: %s", plan.name, f"{window.start:%Y-%m-%d}", name)
    whole = {key: np.concatenate(parts) for key, parts in ndcg_of.items()}
    return [
        {"recommender": name, "way": way, "first": n}
        | _told(values)
        | _against("popularity", values, whole[POPULARITY, "none", n])
        | _against("heuristic", values, whole[HEURISTIC, "none", n])
        for (name, way, n), values in whole.items()
    ]


def ageing(plan: Plan, names: Sequence[str]) -> list[dict[str, Any]]:
    """Each row: one recommender, with and without fold-in, at one age; all for the same users."""
    ndcg_of: dict[tuple[str, bool], list[Floats]] = {}
    for window in plan.fresh:
        asked = _known_users(plan, window)
        if not asked.users:
            continue
        aged: dict[tuple[str, bool], list[Floats]] = {}
        for age in plan.ages:
            dataset = plan.record.dataset(window.start - timedelta(age))
            for name, make in ({POPULARITY: PopularityRecommender} | makers(names)).items():
                served = Served(plan.record, dataset, make().fit(dataset), window.start)
                # Any snapshot has what the heuristic needs, so it is asked of the first.
                ways = [(name, False), (HEURISTIC if name == POPULARITY else name, True)]
                for label, events in ways:
                    scores = served.scores(asked, events=events, model=label != HEURISTIC)
                    aged.setdefault((label, events), []).append(judged(asked, scores))
        for key, columns in aged.items():
            ndcg_of.setdefault(key, []).append(np.column_stack(columns))
        log.info("%s, from %s: %d users", plan.name, f"{window.start:%Y-%m-%d}", len(asked.users))
    rows = []
    for (name, events), parts in ndcg_of.items():
        by_age = np.concatenate(parts)
        loss = loss_per_day(by_age, plan.ages)
        for index, age in enumerate(plan.ages):
            rows.append(
                {"recommender": name, "fold_in": events, "age_days": age}
                | _told(by_age[:, index])
                | _against("age 0", by_age[:, index], by_age[:, 0])
                | {"loss_per_day": asdict(list_quality.bootstrap(loss))}
            )
    return rows


def loss_per_day(by_age: Floats, ages: Sequence[int]) -> Floats:
    """Of each user: the slope of a line through the loss at age 0, which is 0, by least squares.

    Args:
        by_age: nDCG, shape (users, ages); the first age is 0.
    """
    days = np.array(ages, np.float64)
    return (by_age[:, :1] - by_age) @ days / (days @ days)


def _new_users(plan: Plan, window: Window) -> tuple[Record, dict[int, Asked]]:
    """The log in which they are new, and what is asked of them after n liked items."""
    record = plan.record
    if not plan.midway:
        people = record.catalogue.users["id"].sort()
        new = people.filter(np.random.default_rng(0).random(len(people)) < NEW_SHARE)
        early = pl.col("user_id").is_in(new.implode()) & (pl.col("occurred_at") < window.start)
        record = replace(record, interactions=record.interactions.filter(~early))
    first = record.interactions.group_by("user_id").agg(first=pl.col("occurred_at").min())
    came = first.filter(pl.col("first").is_between(window.start, window.end, "left"))
    liked = record.liked.join(came, on="user_id", how="semi")
    moments = liked.group_by("user_id").agg(pl.col("occurred_at").sort())
    asked = {}
    for n in FIRST:
        cuts = moments.select(
            "user_id", cut=pl.col("occurred_at").list.get(n - 1, null_on_oob=True)
        )
        of = Asked.of(record, cuts.drop_nulls(), window.start, window.end)
        if of.users:
            asked[n] = of
    return record, asked


def _known_users(plan: Plan, window: Window) -> Asked:
    """Who liked something by then, and likes something later in the window."""
    liked = plan.record.liked
    cuts = liked.filter(pl.col("occurred_at") < window.start).select("user_id").unique()
    cuts = cuts.with_columns(cut=pl.lit(window.start))
    if plan.midway:
        within = liked.filter(pl.col("occurred_at").is_between(window.start, window.end, "left"))
        cuts = within.group_by("user_id").agg(
            cut=pl.col("occurred_at").quantile(0.5, "lower").cast(liked.schema["occurred_at"])
        )
    return Asked.of(plan.record, cuts, window.start, window.end)


def _told(values: Floats) -> dict[str, Any]:
    interval = list_quality.bootstrap(values)
    return {
        "users": len(values),
        f"ndcg@{K}": interval.mean,
        "low": interval.low,
        "high": interval.high,
    }


def _against(name: str, values: Floats, other: Floats) -> dict[str, Any]:
    return {f"against {name}": asdict(list_quality.paired(values, other))}


def _printed(title: str, column: str, rows: list[dict[str, Any]], labels: Sequence[str]) -> str:
    """A table in Markdown: a line a recommender and way, a column a value of ``column``."""
    heads = sorted({row[column] for row in rows})
    cells = {(tuple(row[name] for name in labels), row[column]): row for row in rows}
    lines = [
        title,
        "| " + " | ".join([*labels, *(f"{head}" for head in heads)]) + " |",
        "|---" * (len(labels) + len(heads)) + "|",
        "| users |" + " |" * (len(labels) - 1),
    ]
    any_line = next(iter(cells))[0]
    lines[-1] += "".join(f" {cells[any_line, head]['users']} |" for head in heads)
    for label in dict.fromkeys(key for key, _ in cells):
        values = [cells[label, head] for head in heads]
        shown = [f"{row[f'ndcg@{K}']:.4f} ({row['low']:.3f}–{row['high']:.3f})" for row in values]
        lines.append("| " + " | ".join([*map(str, label), *shown]) + " |")
    return "\n".join(lines)


def plot(tables: Sequence[dict[str, Any]], file: Path) -> None:
    """nDCG by the age of the model, a panel a log, relative to the same at age 0."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for index, table in enumerate(tables, 1):
        axes = figure.add_subplot(1, len(tables), index)
        axes.set(title=table["data"], xlabel="age of the model, days", ylabel=f"nDCG@{K}")
        axes.spines[["top", "right"]].set_visible(False)
        lines = dict.fromkeys((row["recommender"], row["fold_in"]) for row in table["freshness"])
        names = list(dict.fromkeys(name for name, _ in lines))
        for name, folded in lines:
            rows = [
                r for r in table["freshness"] if (r["recommender"], r["fold_in"]) == (name, folded)
            ]
            axes.plot(
                [row["age_days"] for row in rows],
                [row[f"ndcg@{K}"] for row in rows],
                "-o" if folded else "--",
                color=f"C{names.index(name)}",
                markersize=3,
                label=f"{name}, with events" if folded else name,
            )
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=110)


def tables(given: Namespace) -> Iterator[dict[str, Any]]:
    plans = [lambda: marketplace(Size(given.users, given.items, given.interactions))]
    if given.path is not None:
        plans.append(lambda: movielens(given.path))
    for make in plans:
        plan = make()
        table: dict[str, Any] = {"data": plan.name}
        if "fold-in" in given.parts:
            table["fold_in"] = fold_in(plan, given.models)
            title = f"{plan.name}: new users, by how many liked items are known"
            log.info("\n%s", _printed(title, "first", table["fold_in"], ("recommender", "way")))
        if "freshness" in given.parts:
            table["freshness"] = ageing(plan, given.models)
            title = f"{plan.name}: by the age of the model in days"
            labels = ("recommender", "fold_in")
            log.info("\n%s", _printed(title, "age_days", table["freshness"], labels))
            for row in table["freshness"]:
                if row["age_days"] == 0:
                    loss, ndcg = row["loss_per_day"], row[f"ndcg@{K}"]
                    log.info(
                        "%s, fold-in %s: loses %.5f [%.5f, %.5f] a day, %.2f %% of itself",
                        *(row["recommender"], row["fold_in"]),
                        *(loss["mean"], loss["low"], loss["high"], 100 * loss["mean"] / ndcg),
                    )
        yield table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.parser(__doc__ or "", users=2_000, items=4_000, interactions=100_000, seconds=1)
    parser.add_argument("--path", type=Path, help="folder of a MovieLens, for its tables too")
    parser.add_argument("--models", nargs="+", choices=list(ZOO), default=MODELS, help="rows")
    parts = ("fold-in", "freshness")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="tables")
    parser.add_argument("--plot", type=Path, help="file for a picture of freshness (.png, .svg)")
    given = parser.parse_args(arguments)
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%X"
    )
    log.setLevel(logging.INFO)
    if given.path is not None and not given.path.is_dir():
        print(f"error: --path {given.path}: no such folder", file=sys.stderr)
        return 1
    facts = report.machine()
    with threadpool_limits(1):
        documents = list(tables(given))
    if given.plot is not None:
        plot(documents, given.plot)
    print(json.dumps({"name": "freshness", "machine": facts, "tables": documents}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
