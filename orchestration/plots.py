"""Plots for the metadata of assets: small PNGs, shown in the Dagster UI."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:  # matplotlib takes a second to import, and only a run needs it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#3b6fb6", "#e0803d", "#4a9d6f", "#b6485a", "#7a5ea8", "#8c7355", "#5b9bb0", "#999999")


def _plot(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_metadata(figure: Figure) -> dg.MetadataValue:
    """The figure inside Markdown, which is how the Dagster UI shows a picture."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return dg.MetadataValue.md(
        f"![plot](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
    )


def interactions_by_day(counts: pl.DataFrame) -> Figure:
    """Stacked bars. ``counts``: columns day, type, count."""
    figure, axes = _plot("Interactions by day and type", "", "interactions")
    wide = counts.pivot(on="type", index="day", values="count").sort("day").fill_null(0)
    bottom = np.zeros(len(wide))
    for colour, name in zip(COLOURS * 2, sorted(set(wide.columns) - {"day"}), strict=False):
        values = wide[name].to_numpy()
        axes.bar(wide["day"].to_list(), values, bottom=bottom, label=name, color=colour, width=1)
        bottom += values
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def long_tail(counts: NDArray[np.integer]) -> Figure:
    """Interactions of each item, most popular first, on logarithmic axes."""
    figure, axes = _plot("Long tail of popularity", "item, by rank", "users")
    ordered = np.sort(counts[counts > 0])[::-1]
    axes.loglog(np.arange(1, len(ordered) + 1), ordered, color=COLOURS[0])
    return figure


def distribution(values: NDArray[np.floating], title: str, x: str) -> Figure:
    figure, axes = _plot(title, x, "count")
    axes.hist(values[np.isfinite(values)], bins=50, color=COLOURS[0])
    return figure


def bars(values: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Grouped bars: metric → recommender → value."""
    figure, axes = _plot(title, "", "")
    series = list(next(iter(values.values()), {}))
    width = 0.8 / max(len(series), 1)
    places = np.arange(len(values))
    for number, name in enumerate(series):
        heights = [of_metric.get(name, 0.0) for of_metric in values.values()]
        axes.bar(places + number * width, heights, width, label=name, color=COLOURS[number])
    axes.set_xticks(places + 0.4 - width / 2, list(values))
    axes.legend(frameon=False, fontsize=8)
    return figure


def intervals(values: Mapping[str, tuple[float, float | None, float | None]], title: str) -> Figure:
    """A point with its interval each: name → value, low, high; no interval where it is None."""
    figure, axes = _plot(title, "", "")
    if not values:
        axes.set_title(f"{title}: not enough data")
        return figure
    points = [value for value, _, _ in values.values()]
    below = [value - (value if low is None else low) for value, low, _ in values.values()]
    above = [(value if high is None else high) - value for value, _, high in values.values()]
    axes.errorbar(list(values), points, yerr=(below, above), fmt="o", capsize=4, color=COLOURS[0])
    axes.margins(x=0.2)
    axes.set_ylim(bottom=0)
    return figure


def history(versions: Sequence[str], values: Sequence[float], metric: str) -> Figure:
    """A metric of each model version, oldest first."""
    figure, axes = _plot(f"{metric} by model version", "version", metric)
    axes.plot(list(versions), list(values), marker="o", color=COLOURS[0])
    axes.set_ylim(bottom=0)
    return figure


def table(rows: list[dict[str, object]]) -> dg.MetadataValue:
    """A table of rows that share their keys, as Markdown."""
    if not rows:
        return dg.MetadataValue.md("nothing")
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [
        " | ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values())
        for row in rows
    ]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))
