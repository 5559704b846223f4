"""Hyperparameter search: settings that do better on windows of time before the test window.

A trial trains a recommender on what came before each window, and judges it by what came in it;
its value is the mean nDCG@k of the windows. The test window begins where the last of them ends:
no trial sees anything of it. Settings are proposed by TPE (Bergstra et al. 2011, "Algorithms for
hyper-parameter optimization"), and a trial that is below the median of others after some windows
is given up. Both are Optuna's.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import optuna
import polars as pl
import yaml
from numpy.typing import NDArray
from optuna.distributions import distribution_to_json
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from models.data.interactions.matrices import interaction_matrix
from models.data.interactions.splits import split_moment
from models.evaluation.feed import FeedJudge
from models.evaluation.metrics.list_quality import Paired, paired
from models.profile.recommender_settings import SETTINGS, Settings
from models.profile.schema import Profile
from models.recommenders import zoo
from models.recommenders.base import Dataset, Progress
from models.recommenders.judging import TestSet, ndcg_and_coverage, ndcg_of, test_set
from models.recommenders.served import as_served
from models.recommenders.spaces import SECTIONS, SPACES

STARTUP_TRIALS = 5
"""So many trials are finished before one is given up."""
OVER = (TrialState.COMPLETE, TrialState.PRUNED)
CURRENT = "current"
"""Attribute of a study: the settings in use, and their nDCG by window."""
BY_WINDOW, SECONDS = "ndcg", "seconds"
"""Attributes of a trial."""
LOCK_SECONDS = 3
"""After which the lock of a process that died in the middle of writing counts no more."""
DIGITS = 3
"""Significant digits of a number that is proposed: more would tell nothing."""

Values = dict[str, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """What is learnt from, and what is judged by.

    Attributes:
        judge: of the feed that would be served, as the evaluation does; None: the model's own
            scores count.
    """

    name: str
    dataset: Dataset
    test: TestSet
    judge: FeedJudge | None

    @classmethod
    def of(
        cls,
        past: Callable[[datetime], Dataset],
        interactions: pl.LazyFrame,
        begins: datetime,
        ends: datetime | None = None,
    ) -> Self:
        """Learn from what came before ``begins``; judge by what came from then until ``ends``.

        Args:
            past: the dataset as of a moment.

        Raises:
            ValueError: there is nobody to judge by it.
        """
        name = f"{begins:%Y-%m-%d %H:%M} to {f'{ends:%Y-%m-%d %H:%M}' if ends else 'the end'}"
        when, dataset = pl.col("occurred_at"), past(begins)
        profile, rules = dataset.profile, dataset.profile.evaluation
        future = interaction_matrix(
            interactions.filter(when >= begins, when < ends if ends else True),
            dataset.users,
            dataset.items,
            profile.interaction_weights,
            profile.interaction_types,
        )
        test = test_set(
            dataset.matrix, future, heavy_user=rules.heavy_user, max_users=rules.max_users
        )
        if not (dataset.matrix.liked.nnz and len(test.users)):
            raise ValueError(
                f"window {name}: nobody liked anything new in it, or nothing came before it. Take "
                "fewer windows or a larger window_share, or load more interactions."
            )
        return cls(name, dataset, test, FeedJudge.of(dataset, test, interactions))


def windows(
    past: Callable[[datetime], Dataset],
    interactions: pl.LazyFrame,
    *,
    test_share: float,
    count: int,
    share: float,
) -> tuple[list[Window], Window]:
    """Windows to choose by, the newest first, and the test window after them.

    Args:
        test_share: of all interactions, in the test window.
        share: of the interactions before the test window, in each of the ``count`` windows.

    Raises:
        ValueError: the windows leave nothing to learn from, or nobody to judge by.
    """
    if not 0 < count * share < 1:
        raise ValueError(f"windows * window_share: {count} * {share:g} must be between 0 and 1")
    begins = split_moment(interactions, test_share)
    before = interactions.filter(pl.col("occurred_at") < begins)
    bounds = [split_moment(before, share * left) for left in range(count, 0, -1)]
    chosen_by = [Window.of(past, before, *ends) for ends in pairwise([*bounds, begins])]
    return chosen_by[::-1], Window.of(past, interactions, begins)


def digest(interactions: pl.LazyFrame) -> str:
    """Of who did what when, in any order: 16 hexadecimal digits. O(interactions), streamed."""
    columns = ("user_id", "item_id", "type", "occurred_at")
    rows, total = interactions.select(pl.len(), pl.struct(columns).hash().sum()).collect().row(0)
    return hashlib.sha256(f"{rows} {total}".encode()).hexdigest()[:16]


def settings_of(profile: Profile, recommender: str) -> Settings:
    """Of a recommender that the profile names."""
    section = SECTIONS.get(recommender)
    return getattr(profile, section) if section else profile.recommenders[recommender]


def naming(profile: Profile, recommenders: Sequence[str]) -> Profile:
    """The profile with all of these among its recommenders.

    Raises:
        ValueError: there is nothing to search for in one of them.
    """
    for name in recommenders:
        if name not in SPACES:
            raise ValueError(f"recommenders: no search for {name!r}; there are {', '.join(SPACES)}")
    missing = {name: SETTINGS[name]() for name in recommenders if name not in profile.recommenders}
    return profile.model_copy(update={"recommenders": profile.recommenders | missing})


def with_settings(profile: Profile, recommender: str, values: Mapping[str, Any]) -> Profile:
    """The profile with some settings of one recommender changed.

    Raises:
        pydantic.ValidationError: a value is out of bounds.
    """
    old = settings_of(profile, recommender)
    new = type(old).model_validate({**old.model_dump(), **values})
    if section := SECTIONS.get(recommender):
        return profile.model_copy(update={section: new})
    return profile.model_copy(update={"recommenders": profile.recommenders | {recommender: new}})


def ndcg(
    recommender: str, profile: Profile, window: Window, progress: Progress | None = None
) -> Floats:
    """nDCG@k of each judged user of the window, shape (users,), by the settings of the profile."""
    dataset = replace(window.dataset, profile=profile)
    fitted = zoo.make(recommender, profile).fit(dataset, progress=progress)
    if window.judge is None:
        return ndcg_and_coverage(fitted, window.test, k=profile.evaluation.k)[0]
    return ndcg_of(window.judge.lists(as_served(fitted, dataset))["diversity"], window.test)


def study_name(profile: Profile, recommender: str, data: str, chosen_by: Sequence[Window]) -> str:
    """Changes with all that decides what a trial's value is, and with the space."""
    space = SPACES[recommender]
    settings = settings_of(profile, recommender).model_dump(mode="json")
    parts = {
        "data": data,
        "windows": [window.name for window in chosen_by],
        "space": {name: distribution_to_json(of) for name, of in space.items()},
        "fixed": {name: value for name, value in settings.items() if name not in space},
        "profile": profile.model_dump(
            mode="json",
            include={"interaction_weights", "engagement_weights", "matrix", "popularity"}
            | {"evaluation"},
        ),
    }
    parts_digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    return f"{profile.name}-{recommender}-{parts_digest}"


def journal(file: Path) -> JournalStorage:
    """The trials of a file, to which each step of a trial is appended at once, so that whatever
    ends the process, all is there but the step under way."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and not (content := file.read_bytes()).endswith(b"\n"):
        os.truncate(file, content.rfind(b"\n") + 1)  # a line that a power cut left half written
    lock = JournalFileSymlinkLock(str(file), grace_period=LOCK_SECONDS)
    return JournalStorage(JournalFileBackend(str(file), lock))


def open_study(storage: optuna.storages.BaseStorage, name: str, *, seed: int = 0) -> optuna.Study:
    """The study of that name, made if it is new. What a process that died had begun is failed,
    and its settings are tried again."""
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
        load_if_exists=True,
    )
    # The same seed would propose again what it proposed before the interruption.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)
    return study


@dataclass(frozen=True)
class Budget:
    """When the search of one recommender ends: by what comes first.

    Attributes:
        seconds: of this run.
        trials: of the study, those of earlier runs too.
        patience: trials in a row of which none was better.
    """

    seconds: float
    trials: int
    patience: int


@dataclass(frozen=True)
class Trial:
    """One that is over.

    Attributes:
        values: of the fields of the space.
        ndcg: the mean over the users of each window; fewer than there are windows: given up.
        error: why the settings cannot be trained with; None: they can.
    """

    number: int
    values: Values
    ndcg: list[float]
    seconds: float
    pruned: bool = False
    error: str | None = None

    @property
    def mean(self) -> float:
        return float(np.mean(self.ndcg)) if self.ndcg else 0.0

    @property
    def name(self) -> str:
        return "as it is" if self.number < 0 else f"{self.number}"

    @classmethod
    def read(cls, trial: FrozenTrial) -> Self:
        attributes = trial.user_attrs
        return cls(
            trial.number,
            rounded(trial.params),
            attributes.get(BY_WINDOW, []),
            attributes.get(SECONDS, 0.0),
            trial.state == TrialState.PRUNED,
            attributes.get("error"),
        )


@dataclass(frozen=True)
class Found:
    """What the search of one recommender came to.

    Attributes:
        current: the settings of the profile, as if they were a trial.
        best: the best trial; ``current``, where none is better.
        trials: all that are over, in order.
        stopped: why it ended: ``time``, ``trials`` or ``patience``.
    """

    recommender: str
    current: Trial
    best: Trial
    trials: list[Trial]
    stopped: str


class _OutOfTime(Exception):
    """The budget's time is over in the middle of a trial."""


def search(
    recommender: str,
    profile: Profile,
    chosen_by: Sequence[Window],
    study: optuna.Study,
    budget: Budget,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> Found:
    """Try settings until the budget is spent.

    What raises in ``tell`` or in a training ends the search, and the same study goes on with the
    trial that was under way. So does one that the time cuts off. The settings of the profile
    are measured first, and to the end.

    Args:
        tell: called with each trial as it ends.
    """
    deadline = time.monotonic() + budget.seconds
    space = SPACES[recommender]
    current = _current(recommender, profile, chosen_by, study, tell)
    while (stopped := _spent(study, budget, deadline)) is None:
        trial = study.ask(dict(space))
        began, reached, error = time.monotonic(), [], None
        values = rounded(trial.params)
        changed = with_settings(profile, recommender, values)
        pruned = False
        try:
            for step, window in enumerate(chosen_by):
                of_users = ndcg(recommender, changed, window, _until(deadline))
                reached.append(float(of_users.mean()))
                trial.report(float(np.mean(reached)), step)
                if pruned := step + 1 < len(chosen_by) and trial.should_prune():
                    break
        except _OutOfTime:
            stopped = "time"
            break
        except ValueError as refusal:  # such as a ridge with which a matrix has no inverse
            pruned, error = True, str(refusal)
        done = Trial(trial.number, values, reached, time.monotonic() - began, pruned, error)
        trial.set_user_attr(BY_WINDOW, reached)
        trial.set_user_attr(SECONDS, done.seconds)
        if error:
            trial.set_user_attr("error", error)
        if pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, done.mean)
        tell(done)
    over = [Trial.read(finished) for finished in study.get_trials(deepcopy=False, states=OVER)]
    whole = [finished for finished in over if not finished.pruned]
    best = max(whole, key=lambda finished: finished.mean, default=current)
    return Found(recommender, current, best if best.mean > current.mean else current, over, stopped)


def on_test(result: Found, profile: Profile, window: Window) -> tuple[Floats, Floats, Paired]:
    """nDCG@k of the users of the test window by the best settings and by the current ones, each
    of shape (users,), and the paired test of their difference."""
    current = ndcg(result.recommender, profile, window)
    if result.best is result.current:
        return current, current, paired(current, current)
    changed = with_settings(profile, result.recommender, result.best.values)
    best = ndcg(result.recommender, changed, window)
    return best, current, paired(best, current)


def snippet(profile: Profile, results: Sequence[Found]) -> str:
    """YAML for the profile: the sections with the best settings in place of the current ones."""
    for result in results:
        profile = with_settings(profile, result.recommender, result.best.values)
    sections = {name for result in results if (name := SECTIONS.get(result.recommender))}
    content: dict[str, Any] = {
        name: getattr(profile, name).model_dump(mode="json", exclude_defaults=True)
        for name in sorted(sections)
    }
    if any(result.recommender not in SECTIONS for result in results):
        content["recommenders"] = {
            name: settings.model_dump(mode="json", exclude_defaults=True)
            for name, settings in profile.recommenders.items()
        }
    return yaml.safe_dump(content, sort_keys=False)


def rounded(values: Mapping[str, Any]) -> Values:
    """Numbers to ``DIGITS`` digits, so that what a profile says is what was tried."""
    return {
        name: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
        for name, value in values.items()
    }


def _current(
    recommender: str,
    profile: Profile,
    chosen_by: Sequence[Window],
    study: optuna.Study,
    tell: Callable[[Trial], None],
) -> Trial:
    """The settings of the profile as a trial; measured once, and known to the sampler."""
    space = SPACES[recommender]
    settings = settings_of(profile, recommender).model_dump(mode="json")
    values = {name: settings[name] for name in space}
    stored = study.user_attrs.get(CURRENT)
    if stored is not None and stored["values"] == values:
        return Trial(**stored)
    began = time.monotonic()
    reached = [float(ndcg(recommender, profile, window).mean()) for window in chosen_by]
    done = Trial(-1, values, reached, time.monotonic() - began)
    study.set_user_attr(CURRENT, {**vars(done)})
    with suppress(ValueError):  # the sampler learns nothing from a value out of the space
        study.add_trial(
            optuna.trial.create_trial(
                params=values,
                distributions=dict(space),
                value=done.mean,
                user_attrs={BY_WINDOW: reached, SECONDS: done.seconds},
                intermediate_values={
                    step: float(np.mean(reached[: step + 1])) for step in range(len(reached))
                },
            )
        )
    tell(done)
    return done


def _spent(study: optuna.Study, budget: Budget, deadline: float) -> str | None:
    """Why to stop; None: go on."""
    over = study.get_trials(deepcopy=False, states=OVER)
    if len(over) >= budget.trials:
        return "trials"
    whole = [trial for trial in over if trial.state == TrialState.COMPLETE]
    best = max(whole, key=lambda one: one.value or 0.0, default=None)
    if best is not None and sum(trial.number > best.number for trial in over) >= budget.patience:
        return "patience"
    return "time" if time.monotonic() >= deadline else None


def _until(deadline: float) -> Progress:
    def check(done: int, total: int) -> None:
        if time.monotonic() >= deadline:
            raise _OutOfTime

    return check
