"""A new list for a visit: by the model, else by the heuristic, else what is popular."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Literal

import numpy as np

from models.catalogue.viewers.viewer import NOTHING, Viewer
from models.feed.candidates.sources import SEEN, SourceGuard
from models.feed.context import Context
from models.feed.judged_stages import JudgedStage, judged_stages
from models.feed.pipeline import Query
from models.feed.ranking import Ranking
from models.feed.scoring.scores import By
from models.feed.stage_timer import StageTimer
from serving.feed.feed_list import FeedList, new_feed_id
from serving.feed.time_budget import BudgetSpent, TimeBudget
from serving.feed.translations import Translations
from serving.feed.visit import MODELS, Visit
from serving.telemetry import traces
from serving.telemetry.metrics import DROPPED_SOURCES, stage_timer
from serving.versions.fallback import FallbackReason, Variant

log = logging.getLogger("feedwright.serving")
LOG_EVERY_SECONDS = 10.0
MODEL_RANKS: tuple[FallbackReason | None, ...] = (None, "challenger_unavailable")
"""With these a model ranks nonetheless."""


class FailureLog:
    """Logs once in a while: a model that fails, fails for everybody."""

    def __init__(self) -> None:
        self._last = -LOG_EVERY_SECONDS

    def add(self, what: str, error: Exception) -> None:
        if monotonic() - self._last >= LOG_EVERY_SECONDS:
            self._last = monotonic()
            log.error("ranking failed", exc_info=error, extra={"ranked_by": what})


@dataclass(frozen=True)
class Stages:
    """A viewer's list after each stage that is judged, and what ranked it."""

    variant: Variant
    fallback: FallbackReason | None
    lists: dict[JudgedStage, Ranking]

    @property
    def is_by_version(self) -> bool:
        """A version of the model ranked."""
        return self.variant in MODELS


class FeedRanking:
    """Ranks whatever happens. Used from one event loop."""

    def __init__(self, seconds: float, translations: Translations, failures: FailureLog) -> None:
        """
        Args:
            seconds: within which the model has to rank, and the heuristic after it.
        """
        self._translations = translations
        self._failures = failures
        # Apart, so that a slow or broken one does not make the others careful too.
        self.budgets = {name: TimeBudget(seconds) for name in (*MODELS, "heuristic")}
        self._guards = {
            name: SourceGuard(lambda name, why: DROPPED_SOURCES.labels(name, why).inc())
            for name in MODELS
        }
        self._rng = np.random.default_rng()

    def be_careful(self, model: Variant) -> None:
        """The model's catalogue is new: its pages are cold."""
        self.budgets[model].be_careful()
        self.budgets["heuristic"].be_careful()

    def close(self) -> None:
        for budget in self.budgets.values():
            budget.close()

    async def new_list(self, visit: Visit) -> FeedList:
        """The visit's list, ranked by the best that can."""
        choice, fallback = visit.choice, visit.fallback
        if choice.is_model and fallback in MODEL_RANKS:
            ranking = await self._attempt(visit, visit.viewer, choice.model_ranks_by)
            if isinstance(ranking, Ranking):
                return self._list(visit, ranking, choice.variant, fallback)
            fallback = ranking
        if fallback != "time_budget_exceeded":
            by, viewer = _without_model(visit)
            ranking = await self._attempt(visit, viewer, by)
            if isinstance(ranking, Ranking):
                return self._list(visit, ranking, by, fallback)
            fallback = fallback or ranking
        return self._list(visit, _popular(visit), "heuristic", fallback)

    def stages(self, visit: Visit) -> Stages:
        """What ``new_list`` would rank, stage by stage; nothing is explored, and nobody waits."""
        choice, fallback = visit.choice, visit.fallback
        if choice.is_model and fallback in MODEL_RANKS:
            variant, by, viewer = choice.variant, choice.model_ranks_by, visit.viewer
        else:
            by, viewer = _without_model(visit)
            variant = by
        pipeline = choice.catalogue.pipeline(visit.profile, SourceGuard()).patient()
        try:
            return Stages(variant, fallback, judged_stages(pipeline, viewer, _query(visit, by)))
        except Exception as error:
            if variant not in MODELS:
                raise
            self._failures.add(by, error)
            return self.stages(replace(visit, fallback="model_error"))

    async def _attempt(self, visit: Visit, viewer: Viewer, by: By) -> Ranking | FallbackReason:
        """The ranking, or why there is none."""
        choice = visit.choice
        model: Variant = "challenger" if choice.variant == "challenger" else "champion"
        pipeline = choice.catalogue.pipeline(visit.profile, self._guards[model])
        query = _query(visit, by, self._rng)
        took: dict[str, float] = {}

        def work() -> Ranking:
            timer = StageTimer()
            ranking = pipeline.rank(viewer, query, timer=timer)
            for stage, seconds in timer.seconds.items():
                stage_timer(stage).observe(seconds)
            took.update(timer.seconds)
            return ranking

        try:
            ranking = await self.budgets[model if by == "model" else "heuristic"].run(work)
            traces.stages(took)
            return ranking
        except BudgetSpent:
            return "time_budget_exceeded"
        except Exception as error:  # anything: the feed always answers
            self._failures.add(by, error)
            return "model_error"

    def _list(
        self, visit: Visit, ranking: Ranking, variant: Variant, fallback: FallbackReason | None
    ) -> FeedList:
        """
        Args:
            variant: what ranked in the end.
        """
        choice, request = visit.choice, visit.request
        by_model = variant in MODELS
        rows, extra_ids = self._translations.written(choice.catalogue, ranking.rows)
        return FeedList(
            feed_id=new_feed_id(visit.now),
            made_at=visit.now,
            catalogue=choice.catalogue.name,
            rows=rows,
            scores=ranking.scores,
            sources=ranking.sources,
            propensities=ranking.propensities,
            explored=ranking.explored,
            chances=ranking.chances,
            extra_ids=extra_ids,
            meta={
                "user_id": request.user_id,
                "variant": variant,
                "fallback_reason": fallback,
                "model_version": choice.version if by_model else None,
                "by_model": by_model and choice.model_ranks_by == "model",
                "experiments": choice.plan.experiments,
                "plan": choice.plan.mark,
                "impersonal": choice.plan.impersonal,
                "device": request.device,
                "history": visit.history,
                "erased": visit.erased,
                **_actions(visit, ranking),
            },
        )


def _actions(visit: Visit, ranking: Ranking) -> dict[str, Any]:
    """Names of the list's chances, where it has some."""
    ranker = visit.catalogue.ranker
    if ranker is None or not ranking.chances.shape[1]:
        return {}
    return {"actions": ranker.weighed(visit.profile.ranker.values)}


def _without_model(visit: Visit) -> tuple[Literal["time", "heuristic"], Viewer]:
    """What ranks then, and for whom."""
    choice, viewer = visit.choice, visit.viewer
    if choice.plan.impersonal or not viewer.preferences.personalized:
        viewer = viewer.impersonal()
    return "time" if choice.variant == "time" else "heuristic", viewer


def _query(visit: Visit, by: By, rng: np.random.Generator | None = None) -> Query:
    request = visit.request
    return Query(
        visit.now,
        by,
        exclude_seen=request.exclude_seen,
        exclude_applied=request.exclude_applied,
        context=Context.at(visit.now, request.device),
        rng=rng,
    )


def _popular(visit: Visit) -> Ranking:
    """What is popular, within the rules; who has seen all of it gets it again."""
    popular = visit.catalogue.shortlists.popular[: visit.profile.serving.list_length]
    rows = popular[visit.allowed(popular)]
    sources = np.zeros(len(rows), np.uint16)
    if not len(rows) and visit.request.exclude_seen is None:
        rows = popular[visit.allowed(popular, replace(visit.viewer, seen=NOTHING))]
        sources = np.full(len(rows), SEEN, np.uint16)
    return Ranking.certain(rows, visit.catalogue.live.items.engagement[rows], sources)
