"""Commands about model versions and profiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from feedwright.cli.shell import (
    application,
    choose_profile,
    console,
    examples,
    print_json,
    settings,
)

if TYPE_CHECKING:
    from going_live.releases import Moved, Releases

models = application("List model versions, and choose the one that serves the feed.")
profile = application("Look at the profile, which fits the feed to a domain.")

ACTOR = "command line"
HEADLINE = ("ndcg@10", "ndcg_at_10", "recall@10", "recall_at_10", "coverage")


@contextmanager
def _database() -> Iterator[str]:
    from feedwright.local.database import running_database

    with running_database(settings()) as url:
        yield url


@contextmanager
def _releases() -> Iterator[Releases]:
    from going_live.releases import Releases

    with _database() as url:
        yield Releases.of(settings(), url)


@models.command("list", epilog=examples("feedwright models list", "feedwright models list --json"))
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """All versions, newest first, and which were withdrawn and why."""
    from rich.markup import escape
    from rich.table import Table

    from storage.operations.releases import withdrawn
    from storage.postgres.database import connect
    from storage.registry.opening import open_registry

    with _database() as url:
        versions = open_registry(settings(), url).versions()
        with connect(url) as connection:
            gone = withdrawn(connection)
    if as_json:
        from dataclasses import asdict

        reasons = {version: row.reason for version, row in gone.items()}
        print_json(
            [asdict(version) | {"withdrawn": reasons.get(version.version)} for version in versions]
        )
        return
    if not versions:
        console.print("No model yet: [bold]feedwright train[/] makes the first.")
        return
    names = [name for name in HEADLINE if any(name in version.metrics for version in versions)]
    columns = ["version", "trained at", "aliases", *names, *(["withdrawn"] if gone else [])]
    table = Table(*columns)
    for version in versions:
        cells = (f"{version.metrics[n]:.4f}" if n in version.metrics else "" for n in names)
        why = [escape(gone[version.version].reason)] if version.version in gone else []
        aliases = ", ".join(version.aliases)
        table.add_row(version.version, version.trained_at or "", aliases, *cells, *why)
    console.print(table)


@models.command(epilog=examples("feedwright models show 3"))
def show(version: Annotated[str, typer.Argument(help="Number of the version.")]) -> None:
    """Everything about one version: metrics, tags, aliases."""
    from rich.table import Table

    from storage.registry.opening import open_registry

    with _database() as url:
        model = open_registry(settings(), url).get(version)
    table = Table(show_header=False, box=None)
    table.add_row("version", model.version)
    table.add_row("trained at", model.trained_at or "")
    table.add_row("aliases", ", ".join(model.aliases) or "none")
    table.add_row("run", model.run_id)
    for name, value in sorted(model.metrics.items()):
        table.add_row(name, f"{value:.6g}")
    for name, text in sorted(model.tags.items()):
        table.add_row(name, text)
    console.print(table)


Reason = Annotated[str, typer.Option(help="Why; for the audit log and the alert.")]


@models.command(
    epilog=examples(
        "feedwright models activate 3",
        'feedwright models activate 3 --force --reason "the report was wrong"',
    )
)
def activate(
    version: Annotated[str, typer.Argument(help="Number of the version.")],
    force: Annotated[
        bool, typer.Option("--force", help="Even if it was withdrawn: that is taken back.")
    ] = False,
    reason: Reason = "by hand",
) -> None:
    """Make a version the champion; the feed serves it within seconds."""
    with _releases() as releases:
        _say(releases.activate(version, actor=ACTOR, reason=reason, force=force))


@models.command(
    epilog=examples(
        'feedwright models rollback --reason "fewer applies"',
        "feedwright models rollback --expected 7",
    )
)
def rollback(
    reason: Reason = "by hand",
    expected: Annotated[
        str, typer.Option(help="Only if this version is live; needed while MLflow is away.")
    ] = "",
) -> None:
    """Make the champion before this one the champion again; this one never comes back by itself."""
    with _releases() as releases:
        _say(releases.rollback(actor=ACTOR, reason=reason, expected=expected or None))


def _say(moved: Moved) -> None:
    console.print(f"{moved.note[:1].upper()}{moved.note[1:]}.", highlight=False, soft_wrap=True)


@profile.command(
    "show", epilog=examples("feedwright profile show", "feedwright profile show events")
)
def show_profile(
    name: Annotated[str, typer.Argument(help="A shipped name or a file; default: yours.")] = "",
) -> None:
    """Print a profile with all its values, defaults too, as YAML."""
    import yaml

    from models.profile.schema import load_profile

    shown = load_profile(name or settings().profile)
    typer.echo(yaml.safe_dump(shown.model_dump(mode="json"), sort_keys=False), nl=False)


@profile.command(epilog=examples("feedwright profile check my-profile.yaml"))
def check(file: Annotated[str, typer.Argument(help="A YAML file, or a shipped name.")]) -> None:
    """Say whether a profile can be used, and which field is wrong if not."""
    from models.profile.schema import load_profile

    console.print(f"Profile [bold]{load_profile(file).name}[/] is good.")


@profile.command(epilog=examples("feedwright profile use my-profile.yaml"))
def use(name: Annotated[str, typer.Argument(help="A shipped name or a YAML file.")]) -> None:
    """Use a profile from the next start on."""
    choose_profile(name)
    console.print(f"From the next start on the profile is [bold]{settings().profile}[/].")
