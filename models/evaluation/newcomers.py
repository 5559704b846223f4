"""Users without history and items without history, judged apart: there a model knows least, and has
to be better than the heuristic alone."""

from __future__ import annotations

from dataclasses import dataclass

from models.evaluation.comparison import Comparison
from models.evaluation.metrics.evaluation import COLD_USERS, NEW_ITEMS
from models.evaluation.metrics.list_quality import Paired, paired

HEURISTIC, POPULARITY = "heuristic", "popularity"
GROUPS = {"users without history": COLD_USERS, "items without history": NEW_ITEMS}


@dataclass(frozen=True)
class Newcomers:
    """
    Attributes:
        group: of ``GROUPS``.
        users: so many are judged.
        ndcg: mean by recommender: of the winner's feed, and of those of heuristic and popularity
            where these compete.
        against_heuristic: the winner's nDCG less the heuristic's; None: that does not compete.
    """

    group: str
    users: int
    winner: str
    ndcg: dict[str, float]
    against_heuristic: Paired | None

    @property
    def warning(self) -> str | None:
        """That the feed is not better than the heuristic alone; None: it is."""
        if self.against_heuristic is None or self.winner == HEURISTIC:
            return None
        difference = self.against_heuristic.difference
        if difference.mean > 0:
            return None
        return (
            f"{self.group}: {self.winner} is not better than the heuristic alone, nDCG "
            f"{self.ndcg[self.winner]:.4f} against {self.ndcg[HEURISTIC]:.4f}, by "
            f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], "
            f"{self.users} users"
        )


def newcomers(comparison: Comparison) -> list[Newcomers]:
    """Of those groups that anybody is in."""
    winner = comparison.of(comparison.winner)
    competing = {one.recommender: one for one in comparison.evaluations}
    beside = [winner, *(competing[name] for name in (HEURISTIC, POPULARITY) if name in competing)]
    return [
        Newcomers(
            title,
            len(winner.groups[group]),
            winner.recommender,
            {one.recommender: float(one.groups[group].mean()) for one in beside},
            paired(winner.groups[group], competing[HEURISTIC].groups[group])
            if HEURISTIC in competing
            else None,
        )
        for title, group in GROUPS.items()
        if group in winner.groups
    ]
