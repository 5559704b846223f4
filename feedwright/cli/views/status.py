"""The status document as tables for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

YES, NO, UNKNOWN = "[green]✓[/]", "[red]✗[/]", "[dim]–[/]"


def show(document: dict[str, Any], home: Path, console: Console) -> None:
    console.print(f"[dim]State in {home}[/]\n", highlight=False, soft_wrap=True)
    services = Table("service", "address", "ready", box=None, pad_edge=False)
    for name, service in document["services"].items():
        services.add_row(name, service["url"], YES if service["ready"] else NO)
    console.print(services)
    champion, down = document["champion"], document["counts"]["users"] is None
    if document["database_problem"]:
        console.print(f"\n{NO} {escape(document['database_problem'])}", highlight=False)
        return
    if down:
        console.print("\nThe database is down: [bold]feedwright up[/] starts it.")
        return
    if champion is None:
        console.print("\nNo live model: the feed answers by the heuristic.")
    else:
        # Those with a dot are of a segment or of another recommender: MLflow shows them all.
        overall = {name: value for name, value in champion["metrics"].items() if "." not in name}
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in overall.items())
        console.print(
            f"\nLive model: version [bold]{champion['version']}[/], trained "
            f"{champion['trained_at']}\n[dim]{metrics}[/]",
            highlight=False,
        )
    _show_feed(document["feed"], console)
    counted = ", ".join(f"{count:,} {name}" for name, count in document["counts"].items())
    console.print(f"\n{counted}", highlight=False)
    if document["assets"]:
        assets = Table("asset", "last materialised", "checks", box=None, pad_edge=False)
        for asset in document["assets"]:
            passed = {True: YES, False: NO, None: UNKNOWN}[asset["checks_passed"]]
            assets.add_row(asset["key"], str(asset["last_materialized_at"] or "never"), passed)
        console.print("", assets)
    if document["sample_users"]:
        console.print(f"\nUsers to try: {', '.join(document['sample_users'])}", highlight=False)


def _show_feed(feed: dict[str, Any] | None, console: Console) -> None:
    """What the feed serves, which is the live model only if all is well."""
    if feed is None:
        console.print(
            f"{NO} The feed does not say what it serves: it is down, or wants a key "
            "(FEEDWRIGHT_API_KEY).",
            soft_wrap=True,
        )
    elif feed["fallback_reason"] is None:
        console.print(f"{YES} The feed serves version {feed['model_version']}.", highlight=False)
    else:
        why = f" ({escape(feed['detail'])})" if feed["detail"] else ""
        console.print(
            f"{NO} The feed serves no model, the heuristic answers: {feed['fallback_reason']}{why}",
            highlight=False,
            soft_wrap=True,
        )
