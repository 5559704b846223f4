"""What the winner's feed is made of, for people: sources and tables. Part of the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from models.evaluation.breakdown import Breakdown
from orchestration import plots
from orchestration.plots import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def breakdown_tables(found: Breakdown | None) -> dict[str, list[dict[str, object]]]:
    if found is None:
        return {}
    sources: list[dict[str, object]] = [
        {
            "source": one.source,
            "items a user": round(one.items, 1),
            "recall": one.recall,
            "found by no other": one.alone,
        }
        for one in found.sources
    ]
    tables: list[dict[str, object]] = [
        {
            "table": one.table,
            "weight": one.weight,
            "nDCG of the feed": found.ndcg,
            "without the table": one.without,
            "adds": one.adds.difference.mean,
            "low": one.adds.difference.low,
            "high": one.adds.difference.high,
            "p": one.adds.p,
        }
        for one in found.tables
    ]
    return {"sources": sources} | ({"blend": tables} if tables else {})


def breakdown_figures(found: Breakdown | None, k: int) -> dict[str, Callable[[], Figure]]:
    if found is None:
        return {}
    recall = [
        Panel("recall", {one.source: (one.recall, None, None) for one in found.sources}),
        Panel("found by no other", {one.source: (one.alone, None, None) for one in found.sources}),
        Panel("items a user", {one.source: (one.items, None, None) for one in found.sources}),
    ]
    title = f"Candidates by source, {found.users} users"
    drawn: dict[str, Callable[[], Figure]] = {"plot_sources": partial(plots.panels, recall, title)}
    if found.tables:
        adds = {one.table: one.adds.difference for one in found.tables}
        panel = Panel(
            f"nDCG@{k} lost without it",
            {name: (one.mean, one.low, one.high) for name, one in adds.items()},
        )
        title = f"What each table adds, {found.users} users"
        drawn["plot_blend"] = partial(plots.panels, [panel], title)
    return drawn
