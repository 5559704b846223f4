"""Commands about model versions and profiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from feedwright.shell import application, choose_profile, console, examples, settings

if TYPE_CHECKING:
    from models.registry import Registry
    from models.versions import ModelVersion

models = application("List model versions, and choose the one that serves the feed.")
profile = application("Look at the profile, which fits the feed to a domain.")

HEADLINE = ("ndcg@10", "ndcg_at_10", "recall@10", "recall_at_10", "coverage")


@contextmanager
def _registry() -> Iterator[Registry]:
    from feedwright.database import running_database
    from models.registry import Registry
    from storage.settings import mlflow_tracking_uri

    current = settings()
    if current.mlflow_url is not None:
        yield Registry(current.mlflow_address, current.model_name)
        return
    with running_database(current) as url:
        uri = mlflow_tracking_uri(current, url)
        yield Registry(uri, current.model_name, current.artifacts)


@models.command("list", epilog=examples("feedwright models list", "feedwright models list --json"))
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """All versions, newest first."""
    from rich.table import Table

    with _registry() as registry:
        versions = registry.versions()
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(version) for version in versions], indent=2))
        return
    if not versions:
        console.print("No model yet: [bold]feedwright train[/] makes the first.")
        return
    names = [name for name in HEADLINE if any(name in version.metrics for version in versions)]
    table = Table("version", "trained at", "aliases", *names)
    for version in versions:
        cells = (f"{version.metrics[n]:.4f}" if n in version.metrics else "" for n in names)
        table.add_row(version.version, version.trained_at or "", ", ".join(version.aliases), *cells)
    console.print(table)


@models.command(epilog=examples("feedwright models show 3"))
def show(version: Annotated[str, typer.Argument(help="Number of the version.")]) -> None:
    """Everything about one version: metrics, tags, aliases."""
    from rich.table import Table

    with _registry() as registry:
        found = registry.get(version)
    table = Table(show_header=False, box=None)
    table.add_row("version", found.version)
    table.add_row("trained at", found.trained_at or "")
    table.add_row("aliases", ", ".join(found.aliases) or "none")
    table.add_row("run", found.run_id)
    for name, value in sorted(found.metrics.items()):
        table.add_row(name, f"{value:.6g}")
    for name, text in sorted(found.tags.items()):
        table.add_row(name, text)
    console.print(table)


@models.command(epilog=examples("feedwright models activate 3"))
def activate(version: Annotated[str, typer.Argument(help="Number of the version.")]) -> None:
    """Make a version the champion; the feed serves it within seconds."""
    with _registry() as registry:
        _say_live(registry.activate(version))


@models.command(epilog=examples("feedwright models rollback"))
def rollback() -> None:
    """Make the champion before this one the champion again."""
    with _registry() as registry:
        _say_live(registry.rollback())


def _say_live(live: ModelVersion) -> None:
    console.print(f"Champion is version [bold]{live.version}[/], trained at {live.trained_at}.")


@profile.command(
    "show", epilog=examples("feedwright profile show", "feedwright profile show events")
)
def show_profile(
    name: Annotated[str, typer.Argument(help="A shipped name or a file; default: yours.")] = "",
) -> None:
    """Print a profile with all its values, defaults too, as YAML."""
    import yaml

    from models.profile import load_profile

    found = load_profile(name or settings().profile)
    typer.echo(yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False), nl=False)


@profile.command(epilog=examples("feedwright profile check my-profile.yaml"))
def check(file: Annotated[str, typer.Argument(help="A YAML file, or a shipped name.")]) -> None:
    """Say whether a profile can be used, and which field is wrong if not."""
    from models.profile import load_profile

    console.print(f"Profile [bold]{load_profile(file).name}[/] is good.")


@profile.command(epilog=examples("feedwright profile use my-profile.yaml"))
def use(name: Annotated[str, typer.Argument(help="A shipped name or a YAML file.")]) -> None:
    """Use a profile from the next start on."""
    choose_profile(name)
    console.print(f"From the next start on the profile is [bold]{settings().profile}[/].")
