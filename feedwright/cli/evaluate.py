"""The command that holds the live feed against a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feedwright.cli.shell import console, errors, examples, print_json, settings

commands = typer.Typer(rich_markup_mode="rich")


@commands.command(
    epilog=examples(
        "feedwright evaluate --users users.txt --relevant relevant.csv",
        "feedwright evaluate --users users.txt --relevant relevant.csv --k 20 --json",
    )
)
def evaluate(
    users: Annotated[Path, typer.Option(help="Text file, one user id a line.")],
    relevant: Annotated[Path, typer.Option(help="CSV file user_id,item_id: what each user liked.")],
    k: Annotated[int, typer.Option(min=1, max=100, help="Items of each list.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Hold the feed that is live against a test set of your own.

    It asks the running feed for the list of each user, exploration off and without what they have
    seen, and gives nDCG and recall by stage: the recommender's order, after the ranker, the feed.
    Load only what users did before the test; what they did in it must not be known.
    """
    from rich.progress import Progress

    from feedwright.cli.views import evaluation
    from feedwright.local.own_test import judge, read_test

    current = settings()
    test = read_test(users, relevant)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("users", total=len(test.relevant))
        result = judge(current, test, k, lambda done: bar.advance(task, done))
    if as_json:
        print_json(evaluation.document(result, current.feed_address))
    else:
        evaluation.show(result, current.feed_address, console)
