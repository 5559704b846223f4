"""The command ``feedwright``. Each command imports what it needs, so that --help is quick."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from feedwright.cli import data, evaluate, experiments, keys, models, privacy, rejected, search
from feedwright.cli.shell import (
    application,
    choose_profile,
    console,
    examples,
    print_json,
    require_terminal_or_yes,
    settings,
)
from storage.home import PRIVATE
from storage.large_imports import expect_large_imports

app = application(
    "Turns a product's interaction log into a personalised feed.\n\n"
    "[bold]feedwright up[/] starts everything on this machine: database, pipeline, model "
    "registry, feed. Settings are variables FEEDWRIGHT_… or lines of .env."
)
for group in (data.commands, evaluate.commands, privacy.commands, search.commands):
    app.add_typer(group)
app.add_typer(rejected.group, name="rejected")
app.add_typer(models.models, name="models")
app.add_typer(models.profile, name="profile")
app.add_typer(keys.keys, name="keys")
app.add_typer(experiments.experiments, name="experiments")
app.add_typer(experiments.flags, name="flags")


def run() -> None:
    """The command, as the shell starts it."""
    os.umask(PRIVATE)  # of this process and of all that it starts
    expect_large_imports()
    app()


@app.callback()
def main(
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the trace of an error.", envvar="FEEDWRIGHT_DEBUG"),
    ] = False,
) -> None:
    if debug:
        os.environ["FEEDWRIGHT_DEBUG"] = "1"


@app.command(
    epilog=examples(
        "feedwright up",
        "feedwright up --detach",
        "feedwright up --no-sample --profile marketplace",
        "FEEDWRIGHT_FEED_PORT=3002 feedwright up",
    )
)
def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is ready; runs on.")
    ] = False,
    no_sample: Annotated[
        bool, typer.Option("--no-sample", help="Do not load MovieLens into an empty database.")
    ] = False,
    profile: Annotated[
        str, typer.Option(help="Profile to use from now on: a shipped name or a YAML file.")
    ] = "",
) -> None:
    """Start everything, and look after it until Ctrl-C.

    The first time it also loads sample data and trains the first model; later it finds
    its state and is up in seconds.
    """
    from feedwright.local import up as starting
    from models.profile.schema import load_profile

    if profile:
        choose_profile(profile)
    current = settings()
    load_profile(current.profile)
    (starting.detach if detach else starting.up)(current, console, sample=not no_sample)


@app.command(epilog=examples("feedwright down", "feedwright down --wait"))
def down(
    wait: Annotated[
        bool, typer.Option("--wait", help="Let runs of the pipeline end by themselves first.")
    ] = False,
) -> None:
    """Stop what `up` started, from any shell. Nothing is lost; runs of the pipeline end."""
    from feedwright.local import up as starting

    starting.down(settings(), console, wait=wait)


@app.command(epilog=examples("feedwright status", "feedwright status --json | jq .services"))
def status(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """What runs, which model is live, how much data there is.

    Exit status 0 when all services are ready, a model is live and no check of an asset
    failed; else 1.
    """
    from feedwright.cli.views.status import show
    from feedwright.local import status as state

    document = state.status(settings())
    if as_json:
        print_json(document)
    else:
        show(document, settings().home, console)
    if not state.is_healthy(document):
        raise typer.Exit(1)


@app.command(epilog=examples("feedwright logs", "feedwright logs feed -f"))
def logs(
    service: Annotated[str, typer.Argument(help="Whose log; without it, all that there are.")] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=1, help="Lines to begin with.")] = 50,
) -> None:
    """Show the logs of the services."""
    from feedwright.cli.views.logs import show_logs

    show_logs(settings().logs, service, lines, follow=follow)


@app.command(epilog=examples("feedwright doctor"))
def doctor() -> None:
    """Look for what this machine lacks, and say how to get it."""
    from rich.table import Table

    from feedwright.local import doctor as examination

    table = Table(box=None, pad_edge=False, show_header=False)
    checks = examination.examine(settings())
    for check in checks:
        sign = "[green]✓[/]" if check.ok else "[red]✗[/]" if check.essential else "[yellow]![/]"
        table.add_row(sign, check.name, check.finding)
        if not check.ok and check.fix:
            table.add_row("", "", f"[cyan]{check.fix}[/]")
    console.print(table)
    console.print(f"[dim]{examination.summary()}[/]", highlight=False)
    if any(check.essential and not check.ok for check in checks):
        raise typer.Exit(1)


@app.command(epilog=examples('eval "$(feedwright env)"; dagster dev -w workspace.yaml'))
def env() -> None:
    """Print the variables that `dagster dev` and other tools need, as shell commands.

    The database must be up, and is started if it is the embedded one.
    """
    import shlex

    from feedwright.dagster.home import write_dagster_home
    from feedwright.environment import dagster_variables, settings_variables
    from storage.preparation import prepare

    current = settings()
    url = prepare(current)
    write_dagster_home(current)
    for name, value in (settings_variables(current) | dagster_variables(current, url)).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command(epilog=examples("feedwright clean", "feedwright clean --yes"))
def clean(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop everything and remove all state: database, models, lake, logs."""
    from feedwright.local import up as starting
    from feedwright.local.cleaning import remove_state

    current = settings()
    if require_terminal_or_yes(yes, f"Remove all data and models below {current.home}?"):
        starting.down(current, console)
        remove_state(current, console)


@app.command(epilog=examples("feedwright version"))
def version() -> None:
    """Print the versions of Feedwright and of its main parts."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    for name in ("feedwright", "dagster", "mlflow", "bentoml", "lightfm-next"):
        try:
            typer.echo(f"{name} {installed(name)}")
        except PackageNotFoundError:
            typer.echo(f"{name} not installed")
    typer.echo(f"python {platform.python_version()}")
