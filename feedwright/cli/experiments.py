"""Commands about experiments and flags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feedwright.cli.shell import application, console, examples, print_json, settings
from feedwright.errors import FeedwrightError

if TYPE_CHECKING:
    import psycopg

    from going_live.experiments import Challenger
    from models.profile.schema import Profile
    from storage.operations.experiments import ExperimentRow

experiments = application("Make, start, watch and end experiments.")
flags = application("Switch parts of the feed on and off, for a share of the users.")

ACTOR = "command line"
Id = Annotated[str, typer.Argument(help="Id of the experiment.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]
Environment = Annotated[
    str, typer.Option(help="Of this environment alone; default: in each without one of its own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@contextmanager
def _connection() -> Iterator[tuple[str, psycopg.Connection]]:
    """The database's address, and one transaction in it."""
    from feedwright.local.database import running_database
    from going_live.experiments import InvalidExperiment
    from storage.postgres.database import connect

    with running_database(settings()) as url, connect(url) as connection:
        try:
            yield url, connection
        except InvalidExperiment as error:
            raise FeedwrightError(f"The experiment cannot be: {error}.") from error


def _profile() -> Profile:
    from models.profile.schema import load_profile

    return load_profile(settings().profile)


def _challenger(url: str) -> Challenger:
    def ask() -> str | None:
        from storage.registry.opening import open_registry

        challenger = open_registry(settings(), url).challenger()
        return challenger.version if challenger else None

    return ask


@experiments.command(
    "list", epilog=examples("feedwright experiments list", "feedwright experiments list --json")
)
def list_experiments(as_json: AsJson = False) -> None:
    """All experiments, the newest first."""
    from rich.table import Table

    from storage.operations.experiments import listed

    with _connection() as (_, connection):
        rows = listed(connection)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    if not rows:
        console.print("No experiment yet: [bold]feedwright experiments create FILE.yaml[/]")
        return
    table = Table("id", "status", "layer", "share", "arms", "winner", "held because")
    for row in rows:
        slice = f"{row.layer} {row.layer_from:.3g} to {row.layer_to:.3g}"
        arms = ", ".join(row.ranked_by)
        held = row.held_because or ""
        table.add_row(
            row.id, row.status, slice, f"{row.share:.1%}", arms, row.winner or "", held[:80]
        )
    console.print(table, markup=False)


@experiments.command(epilog=examples("feedwright experiments show new-model-may"))
def show(id: Id, as_json: AsJson = False) -> None:
    """One experiment: what it is, who saw it, how they did, what it waits for."""
    from datetime import UTC, datetime

    from rich.table import Table

    from going_live.experiments import find
    from going_live.metrics import of_experiment
    from going_live.ramps import due_at, next_step, sample_ratio_p
    from storage.operations.experiments import shown

    with _connection() as (_, connection):
        row = find(connection, id)
        seen = shown(connection, row)
        rates = of_experiment(connection, row, _profile().guardrails, datetime.now(UTC))["arms"]
    if as_json:
        document = asdict(row) | {"shown": {arm: asdict(of) for arm, of in seen.items()}}
        document["rates"] = {rate.pop("arm"): rate for rate in rates}
        print_json(document | {"sample_ratio_p": sample_ratio_p(row, seen)})
        return
    facts = Table(show_header=False, box=None)
    for name in (
        "id", "status", "description", "environment", "primary_metric", "winner_takes_all",
        "challenger_version", "started_at", "ended_at", "winner", "held_because",
    ):  # fmt: skip
        value = getattr(row, name)
        facts.add_row(name.replace("_", " "), "" if value is None else str(value))
    facts.add_row("layer", f"{row.layer}, {row.layer_from:.3g} to {row.layer_to:.3g}")
    facts.add_row("share", f"{row.share:.1%} of the users of that part")
    step, due = next_step(row.ramp, row.share), due_at(row)
    if step is not None and due is not None:
        facts.add_row("next", f"{step.share:.1%}, not before {due:%Y-%m-%d %H:%M} UTC")
    facts.add_row("users fit weights", f"p = {sample_ratio_p(row, seen):.3g}")
    console.print(facts, markup=False)
    arms = Table("arm", "weight", "ranked by", "settings", "users", "impressions", "fallbacks")
    for arm in row.arms:
        of = seen[arm["name"]]
        settings_of = json.dumps(arm["settings"]) if arm["settings"] else ""
        counts = (f"{count:,}" for count in (of.users, of.impressions, of.fallbacks))
        ranked_by = arm["ranked_by"] or "as usual"
        arms.add_row(arm["name"], f"{arm['weight']:g}", ranked_by, settings_of, *counts)
    console.print(arms, markup=False)
    measured = Table("arm", "metric", "rate", "95 % interval", "against the control")
    for one in rates:
        for name, rate in one["metrics"].items():
            difference = (one["differences"] or {}).get(name)
            against = _interval(difference, "relative", "+.1%") if difference else rate["note"]
            if one["control"]:
                against = "control"
            value = "" if rate["value"] is None else f"{rate['value']:.4f}"
            bounds = "" if rate["low"] is None else f"{rate['low']:.4f} to {rate['high']:.4f}"
            measured.add_row(one["arm"], name, value, bounds, against or "not enough data")
    console.print(measured, markup=False)


def _interval(measured: dict[str, Any], name: str, form: str) -> str:
    """A value and its bounds."""
    value, low, high = (measured[key] for key in (name, "low", "high"))
    numbers = [format(number, form) for number in (value, low, high) if number is not None]
    return f"{numbers[0]} ({numbers[1]} to {numbers[2]})" if len(numbers) == 3 else "not known"


@experiments.command(epilog=examples("feedwright experiments create new-model.yaml"))
def create(
    file: Annotated[
        Path, typer.Argument(help="A YAML file: id, arms, and what else the docs name.")
    ],
) -> None:
    """Make an experiment, which is a draft at first. `docs/experiments.md` shows a file."""
    import yaml

    from going_live.experiments import create as made
    from going_live.experiments import parse

    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FeedwrightError(f"{file} is not valid YAML: {error}.") from error
    with _connection() as (_, connection):
        row = made(connection, parse(given), _profile(), actor=ACTOR)
    console.print(f"Draft {row.id}: start it by `feedwright experiments start {row.id}`.")


@experiments.command(epilog=examples("feedwright experiments start new-model-may"))
def start(id: Id) -> None:
    """Let a draft run; workers go by it within seconds."""
    from going_live.experiments import start as started

    with _connection() as (url, connection):
        row = started(connection, id, _profile(), actor=ACTOR, challenger=_challenger(url))
    _say(row)


@experiments.command(epilog=examples("feedwright experiments pause new-model-may"))
def pause(id: Id, reason: Reason = "by hand") -> None:
    """Give everybody what they would get without it."""
    from going_live.experiments import pause as paused

    with _connection() as (_, connection):
        row = paused(connection, id, actor=ACTOR, reason=reason)
    _say(row)


@experiments.command(epilog=examples("feedwright experiments resume new-model-may"))
def resume(id: Id) -> None:
    """Let a paused one run again."""
    from going_live.experiments import resume as resumed

    with _connection() as (url, connection):
        row = resumed(connection, id, actor=ACTOR, challenger=_challenger(url))
    _say(row)


@experiments.command(
    epilog=examples(
        "feedwright experiments ramp new-model-may",
        "feedwright experiments ramp new-model-may --share 0.25",
    )
)
def ramp(
    id: Id,
    share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of its users; without it, the ramp's next step."),
    ] = None,
    reason: Reason = "by hand",
) -> None:
    """Set its share of the users; a ramp goes on from there."""
    from going_live.experiments import set_share

    with _connection() as (_, connection):
        row = set_share(connection, id, share, actor=ACTOR, reason=reason)
    _say(row)


@experiments.command(
    epilog=examples(
        "feedwright experiments end new-model-may",
        "feedwright experiments end new-model-may --winner new-model",
    )
)
def end(
    id: Id,
    winner: Annotated[str, typer.Option(help="The arm that won; it is only noted.")] = "",
    reason: Reason = "by hand",
) -> None:
    """End it, for good."""
    from going_live.experiments import end as ended

    with _connection() as (_, connection):
        row = ended(connection, id, actor=ACTOR, winner=winner or None, reason=reason)
    _say(row)
    version = row.challenger_version
    if version is not None and row.winner and row.ranked_by[row.winner] == "challenger":
        console.print(f"To put it live: [bold]feedwright models activate {version}[/]")


@flags.command("list", epilog=examples("feedwright flags list", "feedwright flags list --json"))
def list_flags(as_json: AsJson = False) -> None:
    """All flags, of all environments."""
    from rich.table import Table

    from storage.operations.experiments import flags as found

    with _connection() as (_, connection):
        rows = found(connection)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = Table("name", "environment", "on", "share", "changed")
    for row in rows:
        on = "yes" if row.enabled else "no"
        changed = f"{row.updated_at:%Y-%m-%d %H:%M}"
        share = f"{row.share:.1%}" if row.enabled else ""
        table.add_row(row.name, row.environment, on, share, changed)
    console.print(table, markup=False)
    console.print(f"This environment is {settings().environment}.", markup=False)


@flags.command(
    "set",
    epilog=examples(
        "feedwright flags set ml_recommendations --off",
        "feedwright flags set personalized_feed --on --share 0.5 --environment staging",
    ),
)
def set_flag(
    name: Annotated[str, typer.Argument(help="Its name.")],
    on: Annotated[bool, typer.Option("--on/--off", help="On, for its share of the users, or off.")],
    share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the users, with --on; default: all.")
    ] = None,
    environment: Environment = "default",
) -> None:
    """Make or change a flag; workers go by it within seconds."""
    if not on and share is not None:
        raise FeedwrightError(
            "No flag was set: --off switches off for all, so it has no --share.",
            f"For a share of the users: feedwright flags set {name} --on --share {share:g}",
        )
    from pydantic import TypeAdapter, ValidationError

    from going_live import definitions
    from going_live.flags import set_flag as changed

    for field, kind, value in (
        ("name", definitions.Name, name),
        ("environment", definitions.Environment, environment),
    ):
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            why = definitions.problems_of(error)[0]["message"]
            raise FeedwrightError(f"No flag was set: {field} {value!r} {why}.") from error
    with _connection() as (_, connection):
        row = changed(
            connection,
            name,
            enabled=on,
            share=1.0 if share is None else share,
            environment=environment,
            actor=ACTOR,
        )
    state = f"on for {row.share:.1%} of the users" if row.enabled else "off"
    console.print(f"{row.name} is {state}, environment {row.environment}.", markup=False)


@flags.command("unset", epilog=examples("feedwright flags unset new_cards --environment staging"))
def unset_flag(
    name: Annotated[str, typer.Argument(help="Its name.")], environment: Environment = "default"
) -> None:
    """Remove a flag. Where it is built in, it is on again."""
    from going_live.flags import unset_flag as removed

    with _connection() as (_, connection):
        gone = removed(connection, name, environment=environment, actor=ACTOR)
    if not gone:
        raise FeedwrightError(
            f"There is no flag {name} of environment {environment}.", "See `feedwright flags list`."
        )
    console.print(f"{name} is gone from environment {environment}.", markup=False)


def _say(row: ExperimentRow) -> None:
    share = f", with {row.share:.1%} of its users" if row.status == "running" else ""
    console.print(f"Experiment {row.id} is {row.status}{share}.", markup=False)
