"""Commands about data and feeds: load, train, feed."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from feedwright.cli.shell import console, examples, settings
from feedwright.errors import FeedwrightError, is_failure
from feedwright.local import load_view

if TYPE_CHECKING:
    from models.profile.interaction_types import InteractionTypes
    from storage.loading.log import Log

commands = typer.Typer(rich_markup_mode="rich")

WITHOUT_TIMES = (
    "The log has no times: stand-ins end now. What needs times does not work on it: trending, "
    "recency, retention, drift, and the evaluation on the latest interactions."
)


class Format(StrEnum):
    """Formats of logs."""

    auto = "auto"
    movielens = "movielens"
    csv = "csv"
    jsonl = "jsonl"
    parquet = "parquet"


class Domain(StrEnum):
    """What a made-up log is about."""

    marketplace = "marketplace"
    social = "social"
    events = "events"


@commands.command(
    epilog=examples(
        "feedwright load my-log/ --mapping my-mapping.yaml",
        "feedwright load events.jsonl --dry-run",
        "feedwright load ml-latest-small/ --format movielens",
        "feedwright load --synthetic 1000x2000x50000",
        "feedwright load --synthetic 1000x2000x50000 --domain events",
    )
)
def load(
    path: Annotated[
        Path | None, typer.Argument(help="File of interactions, or folder with the log's files.")
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="How the files are written.")
    ] = Format.auto,
    mapping: Annotated[
        str, typer.Option(help="YAML that says how the log calls columns and events.")
    ] = "",
    sample: Annotated[bool, typer.Option("--sample", help="Load MovieLens 100K.")] = False,
    synthetic: Annotated[
        str, typer.Option(metavar="USERSxITEMSxINTERACTIONS", help="Load a made-up log.")
    ] = "",
    domain: Annotated[
        Domain | None,
        typer.Option(help="What --synthetic is about; by default that of the profile."),
    ] = None,
    shift_clock: Annotated[
        bool | None,
        typer.Option(
            help="Shift all times so that the log ends now; the default for MovieLens alone."
        ),
    ] = None,
    up_to_damage: Annotated[
        bool,
        typer.Option(
            "--up-to-damage", help="Of a file that is cut short load the rows before the damage."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the files and load nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --dry-run: say it as a JSON document.")
    ] = False,
) -> None:
    """Load a log: your own, MovieLens, or a made-up one.

    A folder holds interactions.csv and, if you have them, users, items and owners; .jsonl and
    .parquet likewise. Rows that cannot be used are kept with the reason: feedwright rejected.
    """
    from feedwright.local import loading
    from feedwright.local.database import running_database
    from storage.postgres.database import connect

    if sum((path is not None, sample, bool(synthetic))) != 1:
        raise FeedwrightError(
            "One source is needed, and only one.", "Give PATH, --sample or --synthetic SIZE."
        )
    if domain and not synthetic:
        raise FeedwrightError(
            f"--domain {domain} is about made-up logs.", "Give --synthetic SIZE with it."
        )
    if as_json and not dry_run:
        raise FeedwrightError("--json is for --dry-run.", "Add --dry-run, or leave --json out.")
    try:
        log = _log(path, form, mapping, sample, synthetic, domain, up_to_damage)
        if as_json:
            unusable = load_view.check(log)
            print(json.dumps(load_view.document(log), indent=2, ensure_ascii=False))
            raise typer.Exit(1 if unusable else 0)
    except BaseException as error:
        if as_json and is_failure(error):
            failed = load_view.failed_document(path, form.value, mapping, _types, error)
            print(json.dumps(failed, indent=2, ensure_ascii=False))
        raise
    if log.ends_now if shift_clock is None else shift_clock:
        log = loading.shifted(log)
    _say_notice(log)
    if dry_run:
        lost = load_view.check(log)
        load_view.show_check(log, console)
    else:
        with running_database(settings()) as url, connect(url, autocommit=True) as connection:
            lost = loading.load_into(connection, log, console)
            loading.warn_of_retention(connection, log, settings().profile, console)
    if lost:
        raise FeedwrightError(
            f"Not one row of {', '.join(map(log.source, lost))} can be used.",
            "The reasons are above. Correct the file or the mapping and load it again; rows that "
            "were loaded stay, and are not loaded twice.",
        )
    if not dry_run:
        console.print("Next: [bold]feedwright train[/], or wait for the daily schedule.")


def _log(
    path: Path | None, form: Format, mapping: str, sample: bool, synthetic: str,
    domain: Domain | None, up_to_damage: bool,
) -> Log:  # fmt: skip
    from feedwright.local import loading

    if path is not None:
        return loading.file_log(
            path, form.value, mapping or None, _types(), up_to_damage=up_to_damage
        )
    if sample:
        return loading.sample_log()
    of_profile = settings().profile if settings().profile in list(Domain) else "marketplace"
    return loading.synthetic_log(synthetic, cast("loading.Domain", domain or of_profile))


def _types() -> InteractionTypes:
    from models.profile.schema import load_profile

    return load_profile(settings().profile).interaction_types


def _say_notice(log: Log, view: Console = console) -> None:
    """Licences, columns that are not used, and what does not work without times."""
    if log.notice:
        view.print(log.notice, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not log.has_times:
        view.print(WITHOUT_TIMES, style="yellow", highlight=False, soft_wrap=True)


@commands.command(
    "map", epilog=examples("feedwright map ml-1m/", "feedwright map export/ --output map.yaml")
)
def propose_mapping(
    folder: Annotated[Path, typer.Argument(help="Folder with the files of a log, or one file.")],
    output: Annotated[
        Path | None, typer.Option(help="Write the mapping to this file instead of showing it.")
    ] = None,
) -> None:
    """Look at files as they are, and write a proposal of the mapping that loads them.

    It says which file and column is what, with examples, and shows the first five rows of each
    as they would be loaded. Load with it as it is, or change it first.
    """
    from feedwright.local import loading

    text, log = loading.proposed(folder, _types())
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
    view = console if output else Console(stderr=True)
    load_view.peek(log)
    load_view.show_preview(log, view)
    load_view.say_findings(log, view)
    _say_notice(log, view)
    if output:
        view.print(
            f"Written to {output}. Next: feedwright load {folder} --mapping {output} --dry-run",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


@commands.command(epilog=examples("feedwright train"))
def train() -> None:
    """Run the daily job now: features, training, evaluation, the gate, a new champion.

    It runs in a process of its own; Ctrl-C ends it and leaves the live model as it is. While
    another training is on its way it shows that one's progress, and Ctrl-C leaves it alone.
    """
    from feedwright.local import first_run, training
    from feedwright.local.database import running_database
    from storage.postgres.database import connect

    current = settings()
    training.allow_interrupt()
    with running_database(current) as url:
        with connect(url, autocommit=True) as connection:
            if not first_run.has_interactions(connection):
                raise FeedwrightError(
                    "There is no data to learn from.", "feedwright load PATH, or load --sample."
                )
        failed = training.train(current, url, console)
        if failed is not None:
            raise FeedwrightError(
                f"The training failed: {failed.rstrip('.')}.",
                "Its log: feedwright logs training; the run is in Dagster too.",
            )


@commands.command(epilog=examples("feedwright feed 405", "feedwright feed 405 --svg feed.svg"))
def feed(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    limit: Annotated[int, typer.Option(min=1, max=100, help="Items to show.")] = 10,
    svg: Annotated[
        Path | None, typer.Option(help="Write the table as a picture to this file.")
    ] = None,
) -> None:
    """Show the feed of a user, as the server answers it."""
    from feedwright.cli.views import feed as feed_view
    from feedwright.local.feed_calls import call

    asked = {"user_id": user, "limit": limit}
    answer = call(settings(), "GET", "/api/v1/feed", scope="read", params=asked)
    names = feed_view.titles(settings(), [item["item_id"] for item in answer["items"]])
    feed_view.show(answer, user, names, console, svg)
