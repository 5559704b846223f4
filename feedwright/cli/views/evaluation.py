"""How the live feed did on a test set: the document of rows, and tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from feedwright.local.own_test import METRICS, STAGES, Result

UNITS = {"ndcg": "nDCG", "recall": "share"}
EXPLAINED = {
    "model": "recommender's order",
    "ranker": "after the ranker",
    "feed": "after diversity",
}


def document(result: Result, address: str) -> dict[str, Any]:
    """The document of ``--json``: rows as those of ``python -m benchmarks.…``, each with the 95 %
    interval of its mean."""
    rows = []
    for metric in METRICS:
        model = f"model {metric}@{result.k}"
        baseline = result.metrics["model", metric].mean
        for stage in STAGES:
            value = result.metrics[stage, metric]
            row = _row(f"{stage} {metric}@{result.k}", round(value.mean, 6), UNITS[metric])
            if stage != "model":
                ratio = round(value.mean / baseline, 4) if baseline else None
                row |= {"baseline": model, "baseline_value": round(baseline, 6), "ratio": ratio}
            rows.append(row | {"low": round(value.low, 6), "high": round(value.high, 6)})
    rows += [_row(name, count, unit) for name, count, unit in _counts(result)]
    return {
        "name": "evaluate",
        "feed": {
            "address": address,
            "model_versions": result.versions,
            "variants": dict(result.variants),
            "fallback_reasons": dict(result.fallbacks),
        },
        "rows": rows,
    }


def show(result: Result, address: str, console: Console) -> None:
    metrics = [f"{metric}@{result.k}" for metric in METRICS]
    table = Table("", *metrics, "", box=None, pad_edge=False)
    for stage in STAGES:
        values = (result.metrics[stage, metric] for metric in METRICS)
        cells = (f"{value.mean:.4f} [dim]({value.low:.3f}–{value.high:.3f})[/]" for value in values)
        table.add_row(stage, *cells, f"[dim]{EXPLAINED[stage]}[/]")
    console.print(table)
    versions = ", ".join(result.versions) or "no model"
    console.print(
        f"\nFeed at {address}, version {versions}; means over users, with 95 % intervals.",
        highlight=False,
        soft_wrap=True,
    )
    for name, count, _ in _counts(result):
        console.print(f"  {count:>7,} {name}", highlight=False)
    for reason, count in result.fallbacks.most_common():
        console.print(f"  {count:>7,} users without a model's list: {reason}", highlight=False)
    if len(result.versions) > 1:
        console.print(
            "More than one version ranked: one went live meanwhile, or an experiment runs.",
            style="yellow",
        )


def _row(name: str, value: float, unit: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "baseline": None,
        "baseline_value": None,
        "ratio": None,
    }


def _counts(result: Result) -> list[tuple[str, int, str]]:
    """Name, value and unit of what says how much the numbers rest on."""
    test = result.test
    judged = len(test.relevant)
    pairs = sum(map(len, test.relevant.values()))
    return [
        ("users judged", judged, "users"),
        ("users without relevant items, left out", test.given - judged, "users"),
        ("users of relevant items who are not among the users", test.others, "users"),
        ("users unknown to the model", result.fallbacks["unknown_user"], "users"),
        ("users ranked by the heuristic", result.variants["heuristic"], "users"),
        ("relevant items", len(test.items), "items"),
        ("relevant items not in the catalogue", result.unknown_items, "items"),
        ("relevant pairs of user and item", pairs, "pairs"),
        *(
            (f"relevant pairs excluded: {rule}", count, "pairs")
            for rule, count in result.excluded.most_common()
        ),
    ]
