"""How the training of a ranker went, for people: what the run warns of, and what is shown of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from models.profile.schema import Profile
from models.ranking.learned import LearnedRanker
from models.ranking.training.fitting import Report
from orchestration import plots


def warnings_of(learned: LearnedRanker, report: Report, profile: Profile) -> list[str]:
    """Of the actions that the profile values, those whose value counts for nothing."""
    if report.actions is None:
        return []
    found = [
        f"ranker.values.{action} is left out: {why}"
        for action, why in report.actions.left_out.items()
    ]
    if not learned.weighed(profile.ranker.values):
        found.append("no wanted action is left: items are ordered by the chance of liking alone")
    return found


def shown(report: Report) -> dict[str, Any]:
    """Metadata of the asset."""
    values = asdict(report)
    gains, actions = values.pop("importance"), values.pop("actions")
    values["importance"] = plots.table(
        [{"feature": one, "share": round(share, 4)} for one, share in gains.items()]
    )
    if actions is None:
        return values
    values |= {name: actions[name] for name in ("value", "ranker_value")}
    rows = [{"action": name} | of_action for name, of_action in actions["of"].items()]
    if rows:
        values["actions"] = plots.table(rows)
    return values
