"""The command that asks Dagster for a hyperparameter search."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from feedwright.cli.shell import console, examples, settings
from feedwright.errors import FeedwrightError

JOB, ASSET = "search", "hyperparameter_search"


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
    from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

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
    try:
        scheme, _, place = current.dagster_address.partition("://")
        client = DagsterGraphQLClient(place, use_https=scheme == "https")
        run_id = client.submit_job_execution(JOB, run_config={"ops": {ASSET: {"config": config}}})
    except DagsterGraphQLClientError as error:
        said = " ".join(str(error.__cause__ or error).split())[:300]
        raise FeedwrightError(
            f"Dagster at {current.dagster_address} cannot start it: {said}.",
            "It must be up: feedwright up.",
        ) from error
    console.print(
        f"The search runs, or waits its turn: {current.dagster_public_address}/runs/{run_id}"
    )


def register(app: typer.Typer) -> None:
    """Add the command of this file to ``app``."""
    app.command(epilog=examples("feedwright search", "feedwright search ease als --minutes 10"))(
        search
    )
