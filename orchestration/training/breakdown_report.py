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


def breakdown_tables(breakdown: Breakdown | None) -> dict[str, list[dict[str, object]]]:
    if breakdown is None:
        return {}
    sources: list[dict[str, object]] = [
        {
            "source": row.source,
            "items a user": round(row.items, 1),
            "recall": row.recall,
            "found by no other": row.alone,
        }
        for row in breakdown.sources
    ]
    tables: list[dict[str, object]] = [
        {
            "table": row.table,
            "weight": row.weight,
            "nDCG of the feed": breakdown.ndcg,
            "without the table": row.without,
            "adds": row.adds.difference.mean,
            "low": row.adds.difference.low,
            "high": row.adds.difference.high,
            "p": row.adds.p,
        }
        for row in breakdown.tables
    ]
    return {"sources": sources} | ({"blend": tables} if tables else {})


def breakdown_figures(breakdown: Breakdown | None, k: int) -> dict[str, Callable[[], Figure]]:
    if breakdown is None:
        return {}
    rows = breakdown.sources
    recall = [
        Panel("recall", {row.source: (row.recall, None, None) for row in rows}),
        Panel("found by no other", {row.source: (row.alone, None, None) for row in rows}),
        Panel("items a user", {row.source: (row.items, None, None) for row in rows}),
    ]
    title = f"Candidates by source, {breakdown.users} users"
    drawn: dict[str, Callable[[], Figure]] = {"plot_sources": partial(plots.panels, recall, title)}
    if breakdown.tables:
        adds = {row.table: row.adds.difference for row in breakdown.tables}
        panel = Panel(
            f"nDCG@{k} lost without it",
            {name: (row.mean, row.low, row.high) for name, row in adds.items()},
        )
        title = f"What each table adds, {breakdown.users} users"
        drawn["plot_blend"] = partial(plots.panels, [panel], title)
    return drawn
