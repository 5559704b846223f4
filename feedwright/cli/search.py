"""The command that asks Dagster for a hyperparameter search."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from feedwright.cli.shell import console, examples, settings
from feedwright.errors import FeedwrightError

commands = typer.Typer(rich_markup_mode="rich")

JOB, ASSET = "search", "hyperparameter_search"


@commands.command(epilog=examples("feedwright search", "feedwright search ease als --minutes 10"))
def search(
    recommenders: Annotated[
        list[str] | None, typer.Argument(help="Whose settings; default: those of the profile.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, help="Of all of them together.")] = 30.0,
    trials: Annotated[int, typer.Option(min=1, help="Of each, at most.")] = 60,
    windows: Annotated[int, typer.Option(min=1, help="Windows of time to judge by.")] = 3,
) -> None:
    """Look for better settings of the recommenders; nothing is changed.

    It runs in Dagster, never beside a training, on the data of the last training. Cancelled
    there, it goes on at the next start. What it finds is in the metadata of its asset.
    """
    import asyncio

    from gateway.dagster_client import DagsterAway, DagsterClient
    from models.recommenders.spaces import SPACES

    current = settings()
    if unknown := sorted(set(recommenders or []) - set(SPACES)):
        raise FeedwrightError(
            f"There is nothing to search for in {', '.join(unknown)}.",
            f"Name some of: {', '.join(SPACES)}.",
        )
    config: dict[str, Any] = {"minutes": minutes, "trials": trials, "windows": windows}
    if recommenders:
        config["recommenders"] = recommenders

    async def launch() -> str:
        async with DagsterClient(current.dagster_address) as dagster:
            return await dagster.launch(JOB, {"ops": {ASSET: {"config": config}}})

    try:
        run_id = asyncio.run(launch())
    except DagsterAway as error:
        raise FeedwrightError(
            f"Dagster at {current.dagster_address} cannot start it: {error}.",
            "It must be up: feedwright up.",
        ) from error
    console.print(
        f"The search runs, or waits its turn: {current.dagster_public_address}/runs/{run_id}"
    )
