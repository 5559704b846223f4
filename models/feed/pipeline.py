"""Rank a viewer's candidates: rules, scores, diversity, exploration; and what made each score.

Everything is a vectorised pass over the candidates, about a thousand of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.catalogue.interests import NO_INTERESTS
from models.catalogue.live import LiveCatalogue, alike
from models.catalogue.viewer import Indices, Viewer
from models.data.top import top_places
from models.feed import scorers
from models.feed.context import Context
from models.feed.diversity import diversified, in_spreads, likeness_of, limit_runs, varied
from models.feed.exploration import explore
from models.feed.rules import allowed
from models.feed.shortlists import Shortlists, time_key
from models.feed.sources import BITS, Bits, Indexes, SourceGuard, candidates
from models.feed.stage_timer import Laps
from models.profile.schema import Profile, ScorerName

By = Literal["model", "heuristic", "time"]
MODEL, RANKER = "model", "ranker"
"""Names of the components that hold the recommender's own score, and the ranker's probability."""
RANKED, SEEN = 1 << 15, 1 << 14
"""In ``Ranking.sources``, beside where an item came from: the ranker gave it its score; the user
has seen it, and too little else is left."""
VARIED, VARIED_AMONG = 10, 20
"""The first items are made less like each other, by trades with those behind, up to here."""
FEW = 200
"""Where the rules leave fewer of the candidates, all that they allow are looked through."""
LEAST_NEW = 20
"""A feed of fewer items that the user has not seen goes on with those that they have, unless the
request forbids it."""
LOOKED_AT = 100
"""Places that are kept free of long runs: the largest page."""


@dataclass(frozen=True)
class Ranking:
    """A ranked list.

    Attributes:
        rows: int32, shape (n,), best first.
        scores: float32 in [0, 1], shape (n,): each item's own. They fall, but where diversity
            or exploration moved an item.
        sources: uint16, shape (n,): where each came from (``models.feed.sources.BITS``),
            ``RANKED`` and ``SEEN``.
        propensities: float32 in (0, 1], shape (n,): how likely this item was at this place,
            given those before it.
        explored: shape (n,): put there by exploration.
    """

    rows: Indices
    scores: scorers.Scores
    sources: Bits
    propensities: NDArray[np.float32]
    explored: NDArray[np.bool_]


def rank(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    shortlists: Shortlists,
    indexes: Indexes,
    guard: SourceGuard,
    *,
    now: float,
    by: By,
    exclude_seen: bool | None = None,
    exclude_applied: bool | None = None,
    context: Context | None = None,
    rng: np.random.Generator | None = None,
    laps: Laps | None = None,
) -> Ranking:
    """The viewer's whole feed, at most the profile's ``serving.list_length`` items.

    Args:
        by: ``model`` ranks by the recommender's vectors (the viewer must have one), the first
            of them by the snapshot's ranker where it has one; ``heuristic`` by the hybrid of the
            scorers, ``time`` by time alone.
        exclude_seen, exclude_applied: as the request asks; None: as the profile has it.
        context: None: that of ``now``, on an unknown device.
        rng: for exploration; None: nothing is explored.
        laps: told when candidates, rules, scores and order are done.

    Raises:
        ValueError: ``by="model"`` for a viewer that the model does not know.
        FloatingPointError: the model's scores are not finite.
    """
    laps = laps or Laps()
    if by == "time":
        pool, sources = _by_time(live, shortlists)
    else:
        found = candidates(live, viewer, profile, shortlists, indexes, guard)
        pool, sources = found.rows, found.sources
    laps.lap("candidates")
    may = partial(
        allowed,
        live,
        viewer,
        profile,
        now=now,
        exclude_seen=exclude_seen,
        exclude_applied=exclude_applied,
    )
    keep = may(pool)
    pool, sources = pool[keep], sources[keep]
    if len(pool) < FEW and len(keep) < len(shortlists.shown):
        more = shortlists.shown[may(shortlists.shown)]
        key = time_key(live, profile, more) if by == "time" else live.items.engagement[more]
        pool, sources = _joined(pool, sources, more[top_places(key, FEW)])
    laps.lap("rules")
    scores = _scores(live, viewer, profile, pool, by, now)
    laps.lap("scores")
    length = profile.serving.list_length
    order = np.argsort(-scores, kind="stable")
    if rng is not None and by != "time":  # new items are drawn from wherever they stand
        new = order[length:][sources[order[length:]] & BITS["explore"] > 0]
        order = np.concatenate([order[:length], new])
    else:
        order = order[:length]
    pool, sources, scores = pool[order], sources[order], scores[order]
    scores = _shown(live, viewer, profile, scores, by, now)
    if by == "time":
        ranking = _certain(pool, scores, sources)
    else:
        if by == "model":
            pool, sources, scores = reranked(
                live, viewer, profile, pool, sources, scores, now=now, context=context
            )
            if live.snapshot.ranker is not None:
                laps.lap("ranker")
        order = _diversified(live, profile, pool, scores)
        ranking = _certain(pool[order], np.clip(scores[order], 0, 1), sources[order])
        ranking = _explored(profile, shortlists, ranking, rng)
        ranking = Ranking(*(column[:length] for column in vars(ranking).values()))
        ranking = _without_long_runs(live, profile, ranking)
    if (
        len(ranking.rows) < LEAST_NEW
        and profile.eligibility.exclude_seen
        and exclude_seen is None
        and len(viewer.seen)
    ):
        rows = viewer.seen[may(viewer.seen, exclude_seen=False)]
        seen = _scores(live, viewer, profile, rows, by, now)
        best = np.argsort(-seen, kind="stable")[: min(FEW, length) - len(ranking.rows)]
        ranking = _behind(ranking, rows[best], _shown(live, viewer, profile, seen[best], by, now))
    laps.lap("order")
    return ranking


def _scores(
    live: LiveCatalogue, viewer: Viewer, profile: Profile, rows: Indices, by: By, now: float
) -> NDArray[np.floating]:
    """What to order these items by, shape (n,)."""
    if by == "model":
        return model_scores(live, viewer, rows)
    if by == "heuristic":
        components = score_components(live, viewer, profile, rows, now=now)
        return scorers.hybrid(components, profile.scorer_weights, len(rows))
    return time_key(live, profile, rows)


def _shown(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    scores: NDArray[np.floating],
    by: By,
    now: float,
) -> scorers.Scores:
    """The same in the units that people see, in the same order."""
    if by == "model":
        return unit_scores(scores, *usual_scores(live, viewer))
    if by == "time":
        return time_scores(scores, profile, now)
    return scores.astype(np.float32, copy=False)


def _certain(rows: Indices, scores: scorers.Scores, sources: Bits) -> Ranking:
    """A list in which nothing is left to chance."""
    return Ranking(rows, scores, sources, np.ones(len(rows), np.float32), np.zeros(len(rows), bool))


def _behind(ranking: Ranking, seen: Indices, scores: scorers.Scores) -> Ranking:
    """The list, and behind it what the user has seen, best first; its scores lie below."""
    if len(ranking.rows) and len(scores):
        scores = scores * (ranking.scores[-1] / max(float(scores[0]), 1e-9))
    tail = _certain(seen, np.clip(scores, 0, 1), np.full(len(seen), SEEN, np.uint16))
    return Ranking(
        *(
            np.concatenate(pair)
            for pair in zip(vars(ranking).values(), vars(tail).values(), strict=True)
        )
    )


def reranked(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    sources: Bits,
    scores: scorers.Scores,
    *,
    now: float,
    context: Context | None = None,
) -> tuple[Indices, Bits, scorers.Scores]:
    """The list with its first ``profile.ranker.rerank`` items in the ranker's order; as it is
    where the snapshot has no ranker, or the profile names none.

    Their scores are the ranker's probabilities; those of the others are the recommender's,
    scaled to lie below. ``RANKED`` tells them apart.

    Args:
        rows, sources, scores: best first by the recommender; scores in [0, 1].
        context: None: that of ``now``, on an unknown device.

    Raises:
        FloatingPointError: the ranker's scores are not finite.
    """
    ranker = live.snapshot.ranker
    if ranker is None or not profile.ranker.kinds or not len(rows):
        return rows, sources, scores
    context = context or Context.at(now)
    first = slice(profile.ranker.rerank)
    found = ranker.scores(
        live, viewer, profile, rows[first], sources[first], now=now, context=context
    )
    if not np.isfinite(found).all():
        raise FloatingPointError("the ranker's scores are not finite")
    order = np.argsort(-found, kind="stable")
    chances = ranker.probabilities(found[order])
    rows, sources, shown = rows.copy(), sources.copy(), scores.copy()
    rows[first], sources[first] = rows[first][order], sources[first][order] | RANKED
    shown[first] = chances
    rest = shown[first.stop :]
    if len(rest):
        shown[first.stop :] = rest * (chances[-1] / max(float(rest[0]), 1e-9))
    return rows, sources, shown


def _by_time(live: LiveCatalogue, shortlists: Shortlists) -> tuple[Indices, Bits]:
    rows = np.union1d(shortlists.by_time, live.latest_items()).astype(np.int32)
    return rows, np.zeros(len(rows), np.uint16)


def _joined(rows: Indices, sources: Bits, more: Indices) -> tuple[Indices, Bits]:
    """With further rows, which no source named."""
    new = more[~np.isin(more, rows)]
    return np.concatenate([rows, new]), np.concatenate([sources, np.zeros(len(new), np.uint16)])


def time_scores(key: NDArray[np.floating], profile: Profile, now: float) -> scorers.Scores:
    """Scores in [0, 1] of what ``time_key`` gave: 1 now, half after the profile's half-life."""
    moment = key if profile.eligibility.time_order == "newest" else 2 * now + key
    return np.nan_to_num(
        np.clip(scorers.recency(moment, now, profile.scorers.recency_half_life_days), 0, 1)
    )


def _diversified(
    live: LiveCatalogue, profile: Profile, rows: Indices, scores: scorers.Scores
) -> NDArray[np.intp]:
    items, limits = live.items, profile.diversity
    groups = [
        (items.owner[rows], limits.owner_penalty),
        (items.category[rows], limits.category_penalty),
    ]
    spreads = in_spreads(scores)
    order = diversified(spreads, groups)
    if limits.strength > 0:
        top = order[:VARIED_AMONG]
        likeness = likeness_of(items.tags[rows[top]])
        order[:VARIED_AMONG] = top[varied(likeness, spreads[top], limits.strength, VARIED)]
    return order


def _without_long_runs(live: LiveCatalogue, profile: Profile, ranking: Ranking) -> Ranking:
    """An item that would make a run too long trades places, and keeps its propensity: of such
    lists, it is that of the place the item had before. What exploration put there stays: moved
    up, it would take more than its share."""
    limits = profile.diversity
    runs = [
        (column[ranking.rows[:LOOKED_AT]], limit)
        for column, limit in (
            (live.items.owner, limits.max_run_owner),
            (live.items.category, limits.max_run_category),
        )
        if limit is not None
    ]
    if not runs:
        return ranking
    order = np.arange(len(ranking.rows))
    order[:LOOKED_AT] = limit_runs(order[:LOOKED_AT], runs, ranking.explored[:LOOKED_AT])
    return Ranking(*(column[order] for column in vars(ranking).values()))


def _explored(
    profile: Profile, shortlists: Shortlists, ranking: Ranking, rng: np.random.Generator | None
) -> Ranking:
    """New items among the others, as the profile asks. They have passed the rules already."""
    rules = profile.exploration
    if rng is None or rules.share == 0 or not len(shortlists.explored) or not len(ranking.rows):
        return ranking
    ascending = np.argsort(ranking.rows)
    places = np.searchsorted(ranking.rows, shortlists.explored, sorter=ascending)
    places = ascending[np.minimum(places, len(ascending) - 1)]
    there = ranking.rows[places] == shortlists.explored
    if not there.any():
        return ranking
    chosen = explore(
        np.arange(len(ranking.rows)),
        places[there],
        shortlists.probabilities[there],
        share=rules.share,
        first_position=rules.first_position,
        rng=rng,
    )
    return Ranking(
        ranking.rows[chosen.order],
        ranking.scores[chosen.order],
        ranking.sources[chosen.order],
        chosen.propensities,
        chosen.explored,
    )


def model_scores(live: LiveCatalogue, viewer: Viewer, rows: Indices) -> NDArray[np.float32]:
    """``user vector · item vector + item bias`` of each item, unbounded."""
    if viewer.vector is None:
        raise ValueError("the model does not know this user")
    scores = live.items.vectors[rows] @ viewer.vector + live.items.bias[rows]
    if not np.isfinite(scores).all():
        raise FloatingPointError("the model's scores are not finite")
    return scores


def usual_scores(live: LiveCatalogue, viewer: Viewer) -> tuple[float, float]:
    """Mean and spread of the viewer's scores over all items. Worked out once a request."""
    known: tuple[float, float] | None = viewer.worked_out.get("usual_scores")
    if known is None:
        if viewer.vector is None:
            raise ValueError("the model does not know this user")
        known = live.moments.of_scores(viewer.vector)
        viewer.worked_out["usual_scores"] = known
    return known


def unit_scores(scores: NDArray[np.floating], mean: float, spread: float) -> scorers.Scores:
    """Logistic of the standard score among all items: in [0, 1], comparable between users."""
    standard = (scores - mean) / (spread if spread > 0 else 1.0)
    return np.asarray(expit(standard), np.float32)


def score_components(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    *,
    now: float,
) -> dict[str, scorers.Scores]:
    """Every scorer of the profile for each item; NaN where a component is missing."""
    components = all_components(live, viewer, profile, rows, now=now)
    return {name: components[name] for name in profile.scorer_weights}


def all_components(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    *,
    now: float,
) -> dict[ScorerName, scorers.Scores]:
    """The same of every scorer there is."""
    items, limits = live.items, profile.scorers
    missing = np.full(len(rows), np.nan, np.float32)
    tags, wanted = items.tags[rows], viewer.wanted_tags
    components: dict[ScorerName, scorers.Scores] = {
        "location": scorers.location(
            viewer.lat, viewer.lon, items.lat[rows], items.lon[rows], limits.max_distance_km
        )
        if viewer.has_place
        else missing,
        "tags": scorers.tags(wanted, tags, len(live.tags)) if len(wanted) else missing,
        "engagement": items.engagement[rows],
        "recency": scorers.recency(
            np.fmax(items.created_at[rows], items.publish_at[rows]),
            now,
            limits.recency_half_life_days,
            limits.fresh_hours,
            limits.fresh_boost,
        ),
        "owner_quality": items.owner_quality[rows],
        "collaborative": missing,
        "content": missing,
    }
    if len(viewer.liked) or viewer.interests is not NO_INTERESTS:
        components["content"] = scorers.content(
            taste_of(live, viewer), tags, items.category[rows], items.city[rows],
            items.price_band[rows],
        )  # fmt: skip
    if viewer.row is not None:
        components["collaborative"] = scorers.collaborative(*alike(live, viewer), rows)
    return components


def explained(
    live: LiveCatalogue,
    viewer: Viewer,
    profile: Profile,
    rows: Indices,
    *,
    now: float,
    by: By = "model",
) -> dict[str, scorers.Scores]:
    """The components of a page, with the model's own score where it ranked for the viewer."""
    components = {
        name: np.minimum(scores, 1)  # the boost of what is fresh puts it above others, no more
        for name, scores in score_components(live, viewer, profile, rows, now=now).items()
    }
    if by == "model" and viewer.vector is not None and live.items.vectors.shape[1]:
        components[MODEL] = unit_scores(
            model_scores(live, viewer, rows), *usual_scores(live, viewer)
        )
    return components


def taste_of(live: LiveCatalogue, viewer: Viewer) -> scorers.Taste:
    """What the viewer liked, by tag, category, city and price, and their interests; what they
    turned away from takes off it."""
    known: scorers.Taste | None = viewer.worked_out.get("taste")
    if known is None:
        items, liked = live.items, viewer.liked
        known = viewer.worked_out["taste"] = scorers.taste_of(
            viewer.liked_weights,
            items.tags[liked],
            items.category[liked],
            items.city[liked],
            items.price_band[liked],
            n_tags=len(live.tags),
            n_categories=len(live.categories),
            n_cities=len(live.cities),
        )
        if viewer.interests is not NO_INTERESTS:
            learned = viewer.interests.scores()
            for weights, (indices, scores) in zip(known[:3], learned, strict=True):
                weights[indices] = np.maximum(weights[indices] + scores, 0)
    return known
