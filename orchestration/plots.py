"""Plots for the metadata of assets: small PNGs, shown in the Dagster UI."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:  # matplotlib takes a second to import, and only a run needs it
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of Okabe and Ito (2008): told apart by the colour-blind too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c7355", "#999999")
QUIET = "#8a94a0"
DPI = 80
PERIODS = (("day", "1d", 200), ("week", "1w", 1_400), ("month", "1mo", np.inf))
"""Bars of a log, their length for Polars, and the days of the longest log that has them."""
ALIKE = 1e-6  # relative difference of values
log = logging.getLogger("feedwright.plots")


@dataclass(frozen=True)
class Panel:
    """One part of ``panels``.

    Attributes:
        rows: name of a row → value, and the low and high end of its interval where it has one.
        lines: name → value: dashed, across all rows.
        marks: name of a mark → name of a row → value: what the rows' values are held against.
    """

    title: str
    rows: Mapping[str, tuple[float, float | None, float | None]]
    lines: Mapping[str, float] = field(default_factory=dict)
    marks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def _plot(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3))
    _margins(figure, left=0.75, bottom=0.5 if x else 0.3, top=0.3)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _margins(figure: Figure, *, left: float, bottom: float, top: float) -> None:
    """In inches. What matplotlib finds them by takes as long as the drawing."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(
        left=left / width,
        right=1 - 0.25 / width,
        bottom=bottom / height,
        top=1 - top / height,
        wspace=0.14,
    )


def _padding_for(names: Iterable[str]) -> float:
    """Inches beside the axes for names of rows."""
    return 0.2 + 0.06 * max(map(len, names), default=0)


def png(draw: Callable[..., Figure], *arguments: Any, **named: Any) -> bytes:
    """What ``draw`` makes of the rest. One that cannot be drawn says why in its place: a picture
    never fails the run whose result it shows."""
    try:
        return _png(draw(*arguments, **named))
    except Exception as error:
        log.exception("a plot cannot be drawn")
        figure, axes = _plot("no plot", "", "")
        axes.text(0.5, 0.5, f"{type(error).__name__}: {error}"[:80], ha="center")
        return _png(figure)


def _png(figure: Figure) -> bytes:
    """Drawn once: ``savefig`` draws twice, the first time for a layout that it then keeps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    buffer = BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "png")
    return buffer.getvalue()


def picture(image: bytes) -> dg.MetadataValue:
    """A PNG inside Markdown, which is how the Dagster UI shows a picture."""
    return dg.MetadataValue.md(f"![plot](data:image/png;base64,{base64.b64encode(image).decode()})")


def as_metadata(draw: Callable[..., Figure], *arguments: Any, **named: Any) -> dg.MetadataValue:
    """As ``png``."""
    return picture(png(draw, *arguments, **named))


def interactions_by_day(counts: pl.DataFrame) -> Figure:
    """Stacked bars, of weeks or months where days would be too many to tell apart.

    Args:
        counts: columns day, type, count.
    """
    days = counts["day"].sort()
    length = (days[-1] - days[0]).days if len(days) else 0
    period, every = next((name, every) for name, every, most in PERIODS if length <= most)
    figure, axes = _plot(f"Interactions by {period} and type", "", "interactions")
    by_period = counts.group_by(pl.col("day").dt.truncate(every), "type").agg(pl.sum("count"))
    wide = by_period.pivot(on="type", index="day", values="count").sort("day")
    names = sorted(set(wide.columns) - {"day"})
    if names:
        wide = wide.upsample("day", every=every).fill_null(0)
        end = wide["day"].dt.offset_by(every)[-1]
        edges = [*wide["day"].to_list(), end]
        bottom = np.zeros(len(wide))
        for colour, name in zip(COLOURS * 2, names, strict=False):
            top = bottom + wide[name].to_numpy()
            axes.stairs(top, edges, baseline=bottom, fill=True, label=name, color=colour)
            bottom = top
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
    shown = values[np.isfinite(values)].astype(np.float64)
    # Values that differ by rounding alone cannot be told apart by 50 bins, nor need be.
    is_constant = np.ptp(shown) <= ALIKE * np.abs(shown).max() if len(shown) else True
    axes.stairs(*np.histogram(shown, 1 if is_constant else 50), fill=True, color=COLOURS[0])
    return figure


def bars(values: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """Grouped bars: metric → recommender → value."""
    figure, axes = _plot(title, "", "")
    series = list(next(iter(values.values()), {}))
    width = 0.8 / max(len(series), 1)
    positions = np.arange(len(values))
    for number, name in enumerate(series):
        heights = [of_metric.get(name, 0.0) for of_metric in values.values()]
        axes.bar(positions + number * width, heights, width, label=name, color=COLOURS[number % 8])
    axes.set_xticks(positions + 0.4 - width / 2, list(values))
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


def panels(
    shown: Sequence[Panel], title: str, *, highlight: str | None = None, same_scale: bool = False
) -> Figure:
    """Dots with their intervals, a row a name and a panel a measure, from 0; the rows are those
    of the first panel, from the top."""
    from matplotlib.figure import Figure

    names = list(shown[0].rows)
    positions = {name: len(names) - number for number, name in enumerate(names)}
    figure = Figure(figsize=(1.6 + 2.4 * len(shown), 1.5 + 0.27 * len(names)))
    explained = any(panel.lines or panel.marks for panel in shown)
    _margins(figure, left=_padding_for(names), bottom=0.6 if explained else 0.35, top=0.65)
    figure.suptitle(title, fontsize=11)
    parts = np.atleast_1d(figure.subplots(1, len(shown), sharex=same_scale))
    legend: dict[str, Artist] = {}
    for axes, panel in zip(parts, shown, strict=True):
        for number, (name, value) in enumerate(panel.lines.items()):
            axes.axvline(
                value, color=COLOURS[3 - number], linestyle="--", linewidth=1.2, label=name
            )
        for name, (value, low, high) in panel.rows.items():
            colour = COLOURS[0] if name == highlight else QUIET
            if low is not None and high is not None:
                axes.plot((low, high), (positions[name],) * 2, color=colour, linewidth=2)
            axes.plot(value, positions[name], "o", color=colour, markersize=6)
        for (mark, of_rows), sign in zip(panel.marks.items(), "D^sv", strict=False):
            at = [positions[name] for name in of_rows]
            axes.plot(list(of_rows.values()), at, sign, label=mark, mfc="none", color=COLOURS[3])
        axes.set_title(panel.title, fontsize=9)
        axes.set_ylim(0.4, len(names) + 0.6)
        if panel is shown[0]:
            axes.set_yticks(list(positions.values()), names, fontsize=9)
        else:
            axes.yaxis.set_visible(False)
        axes.tick_params(axis="x", labelsize=8)
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="x", color="#e4e7ea", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        handles, labels = axes.get_legend_handles_labels()
        legend |= dict(zip(labels, handles, strict=True))
    for axes in parts[:1] if same_scale else parts:
        low, high = axes.get_xlim()
        low = min(0.0, low)
        axes.set_xlim(low, high + 0.04 * (high - low))
    if legend:
        _legend_below(figure, legend)
    return figure


def waterfall(values: Mapping[str, float], title: str) -> Figure:
    """From the first value by what each step adds or takes to the last. Bars are cut off at the
    bottom, so that steps can be seen."""
    figure, axes = _plot(title, "", "")
    names, heights = list(values), list(values.values())
    span = max(heights) - min(heights) or max(heights) * 0.1 or 1.0
    floor = max(0.0, min(heights) - span)
    axes.bar(names[0], heights[0] - floor, 0.6, floor, color=QUIET)
    axes.annotate(f"{heights[0]:.4f}", (0, heights[0]), ha="center", va="bottom")
    for place, (before, after) in enumerate(pairwise(heights), 1):
        colour = COLOURS[2] if after >= before else COLOURS[3]
        axes.bar(names[place], after - before, 0.6, before, color=colour)
        axes.plot((place - 0.7, place + 0.3), (before, before), color=QUIET, linewidth=1)
        text = f"{after - before:+.4f}"
        axes.annotate(text, (place, max(before, after)), ha="center", va="bottom")
    axes.bar("the feed", heights[-1] - floor, 0.6, floor, color=COLOURS[0])
    axes.annotate(f"{heights[-1]:.4f}", (len(names), heights[-1]), ha="center", va="bottom")
    axes.set_ylim(floor, max(heights) + 0.35 * span)
    return figure


def _legend_below(figure: Figure, legend: Mapping[str, Artist]) -> None:
    figure.legend(
        *(list(legend.values()), list(legend)),
        loc="lower center",
        ncols=len(legend),
        frameon=False,
        fontsize=8,
    )


def shares(rows: Mapping[str, Sequence[float]], parts: Sequence[str], title: str) -> Figure:
    """A bar a row, from the top, cut into its parts: row → share of each of ``parts``."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.4 + 0.3 * len(rows)))
    _margins(figure, left=_padding_for(rows), bottom=0.6, top=0.35)
    axes = figure.add_subplot()
    positions = np.arange(len(rows), 0, -1)
    values = np.array(list(rows.values()))
    left = np.zeros(len(rows))
    for part, of_rows, tone in zip(
        parts, values.T, np.linspace(0.15, 0.95, len(parts)), strict=True
    ):
        colour = colormaps["cividis"](tone)
        axes.barh(positions, of_rows, 0.7, left=left, label=part, color=colour)
        for position, start, share in zip(positions, left, of_rows, strict=True):
            if share >= 0.06:
                axes.text(
                    float(start + share / 2),
                    float(position),
                    f"{share:.0%}",
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if tone < 0.6 else "black",
                )
        left += of_rows
    axes.set_title(title, fontsize=11)
    axes.set_yticks(positions, list(rows), fontsize=9)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    _legend_below(figure, dict(zip(labels, handles, strict=True)))
    return figure


def history(versions: Sequence[str], values: Sequence[float], metric: str) -> Figure:
    """A metric of each model version, oldest first."""
    figure, axes = _plot(f"{metric} by model version", "version", metric)
    axes.plot(list(versions), list(values), marker="o", color=COLOURS[0])
    axes.set_ylim(bottom=0)
    return figure


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """A table of rows that share their keys; a number that is not known is empty."""
    if not rows:
        return "nothing"
    lines = [" | ".join(rows[0]), " | ".join("---" for _ in rows[0])]
    lines += [" | ".join(_cell(value) for value in row.values()) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        if value != value:
            return ""
        return f"{value:.0e}" if 1e-12 < abs(value) < 1e-4 else f"{value:.4f}"
    return str(value)


def search_history(reached: Mapping[str, Sequence[float]]) -> Figure:
    """Each trial of a search, and the best so far as a line: recommender → values in order."""
    figure, axes = _plot("Trials of the search", "trial", "mean nDCG of the windows")
    for position, (name, values) in enumerate(reached.items()):
        colour = COLOURS[position % len(COLOURS)]
        axes.plot(values, ".", color=colour, alpha=0.5)
        best = np.maximum.accumulate(np.array(values, np.float64))
        axes.step(range(len(values)), best, where="post", color=colour, label=name)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def table(rows: Sequence[Mapping[str, object]]) -> dg.MetadataValue:
    return dg.MetadataValue.md(markdown(rows))
