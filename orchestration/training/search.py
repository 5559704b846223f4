"""Hyperparameter search, in the group ``model``: it proposes settings, and changes nothing."""

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl
from pydantic import Field

from models.profile.schema import Profile
from orchestration import plots
from orchestration.policies import OWNERS, TRAINING_POOL
from orchestration.resources import Platform
from orchestration.training.models import GROUP, TrainingSet, past_of

if TYPE_CHECKING:  # brings Optuna, which takes seconds to import
    from models.evaluation.search import Budget, Found, Trial, Window

STUDIES = "studies"
"""Folder beside the assets' values, with a file a study."""


class SearchConfig(dg.Config):
    recommenders: list[str] = Field(
        default=[], description="Whose settings to search; none: those of the profile."
    )
    minutes: float = Field(default=30.0, gt=0, description="Of this run, for all of them together.")
    trials: int = Field(default=60, ge=1, description="Of each, those of earlier runs too.")
    patience: int = Field(
        default=25, ge=1, description="Trials in a row without a better one, until it stops."
    )
    windows: int = Field(default=3, ge=1, description="Windows of time that a trial is judged by.")
    window_share: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Of the interactions before the test window, in each of them.",
    )


@dg.asset(group_name=GROUP, kinds={"python", "mlflow"}, owners=OWNERS, pool=TRAINING_POOL)
def hyperparameter_search(
    context: dg.AssetExecutionContext,
    config: SearchConfig,
    platform: Platform,
    training_set: TrainingSet,
) -> dg.MaterializeResult:
    """Better settings of the recommenders, found on windows of time before the test window.

    On the data of the last training: until the next one, a search that was cancelled or died
    goes on where it was. It changes nothing: the metadata have lines for the profile.
    """
    from models.data.interactions.splits import of_known
    from models.evaluation import search
    from models.recommenders.spaces import SPACES
    from storage.registry import search_runs

    chosen = config.recommenders or [n for n in platform.profile.recommenders if n in SPACES]
    profile, whole = search.naming(platform.profile, chosen), training_set.dataset
    interactions = of_known(
        platform.lake.scan().filter(pl.col("occurred_at") < whole.as_of), whole.users, whole.items
    )
    windows, test = search.windows(
        lambda moment: past_of(platform, whole, profile, moment),
        interactions,
        test_share=profile.evaluation.test_share,
        count=config.windows,
        share=config.window_share,
    )
    data, names = search.digest(interactions), [window.name for window in windows]
    registry, folder = platform.registry, platform.settings.home / "pipeline" / STUDIES
    run_id = search_runs.open_run(
        registry,
        hashlib.sha256(f"{profile.name} {data}".encode()).hexdigest()[:16],
        name=f"{profile.name} {whole.as_of:%Y-%m-%d %H:%M}",
        tags={"dagster_run_id": context.run.run_id, "profile": profile.name, "data": data},
    )
    context.log.info("windows: %s; test: %s, once, at the end", "; ".join(names), test.name)
    deadline, results = time.monotonic() + config.minutes * 60, []
    with search_runs.ending(registry, run_id):
        for place, name in enumerate(chosen):
            called = search.study_name(profile, name, data, windows)
            study = search.open_study(search.journal(folder / f"{called}.journal"), called)
            # What a quick one leaves of its share, those after it have too.
            seconds = (deadline - time.monotonic()) / (len(chosen) - place)
            budget = search.Budget(seconds, config.trials, config.patience)
            log = partial(search_runs.log_trial, registry, run_id, name, windows=names)
            tell = _telling(context, name, budget, log)
            results.append(search.search(name, profile, windows, study, budget, tell))
        rows = [_row(result, profile, test) for result in results]
        lines = search.snippet(profile, results)
        search_runs.log_result(registry, run_id, rows, lines)
    return dg.MaterializeResult(
        metadata={
            "found": plots.table([{k: v for k, v in row.items() if k != "trials"} for row in rows]),
            "profile": dg.MetadataValue.md(f"```yaml\n{lines}```"),
            "history": plots.as_metadata(
                plots.search_history, {result.recommender: _reached(result) for result in results}
            ),
            "windows": plots.table(
                [{"window": each.name, "users": len(each.test.users)} for each in (*windows, test)]
            ),
            "trials": sum(len(result.trials) for result in results),
            "mlflow_run_id": run_id,
        },
    )


def _telling(
    context: dg.AssetExecutionContext,
    name: str,
    budget: "Budget",
    log: Callable[["Trial"], None],
) -> Callable[["Trial"], None]:
    """Tells MLflow and the log of the run of each trial: what it came to, and what is left."""
    began, logged = time.monotonic(), 0

    def tell(trial: "Trial") -> None:
        nonlocal logged
        log(trial)
        logged += 1
        spent = time.monotonic() - began
        left = min(budget.seconds - spent, spent / logged * (budget.trials - logged))
        context.log.info(
            "%s, trial %s: nDCG %.4f%s in %.1f s; at most %.0f s to go: %s",
            name, trial.name, trial.mean, " (given up)" if trial.pruned else "", trial.seconds,
            max(left, 0), trial.values,
        )  # fmt: skip

    return tell


def _row(result: "Found", profile: Profile, test: "Window") -> dict[str, Any]:
    """What was found against what the profile says, by the windows and by the test window."""
    from models.evaluation import search

    ours, theirs, pair = search.on_test(result, profile, test)
    return {
        "recommender": result.recommender,
        "current": result.current.values,
        "best": result.best.values,
        "validation_current": result.current.mean,
        "validation_best": result.best.mean,
        "test_current": float(theirs.mean()),
        "test_best": float(ours.mean()),
        "test_low": pair.difference.low,
        "test_high": pair.difference.high,
        "test_p": pair.p,
        "trials": len(result.trials),
        "tried": f"{len(result.trials)}, {sum(trial.pruned for trial in result.trials)} given up",
        "stopped_by": result.stopped,
    }


def _reached(result: "Found") -> list[float]:
    """The mean nDCG of each trial that was not given up."""
    return [trial.mean for trial in result.trials if not trial.pruned]


ASSETS = [hyperparameter_search]


search_job = dg.define_asset_job(
    "search",
    selection=dg.AssetSelection.assets(hyperparameter_search),
    description="Better settings of the recommenders, on the data of the last training. It takes "
    "as long as its configuration says, goes on where it was, and changes nothing.",
    tags={"feedwright/kind": "search"},
)
