"""The list of a viewer after the stages that are judged apart, in the evaluation and live."""

from __future__ import annotations

from typing import Literal

from models.catalogue.viewers.viewer import Viewer
from models.feed.pipeline import FeedPipeline, Query, Stage
from models.feed.ranking import Ranking

JudgedStage = Literal["candidates", "ranker", "diversity"]
"""After the recommender has put in order what the sources name and the rules allow; after the
ranker, where there is one; the feed, with diversity and without exploration."""
JUDGED: dict[Stage, JudgedStage] = {
    "scores": "candidates",
    "ranker": "ranker",
    "exploration": "diversity",
}


def judged_stages(
    pipeline: FeedPipeline, viewer: Viewer, query: Query
) -> dict[JudgedStage, Ranking]:
    """In the order of the feed. Without a ranker the list after it is the one before.

    Args:
        query: without ``rng``: nothing is explored.
    """
    rankings: dict[JudgedStage, Ranking] = {}
    for name, ranking in pipeline.stages(viewer, query):
        if stage := JUDGED.get(name):
            rankings[stage] = ranking
        if name == "scores":
            rankings["ranker"] = ranking
    return rankings
