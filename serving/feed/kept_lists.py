"""The kept list that a visit continues, or that is as good for it as a new one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from serving.feed.feed_list import FeedList
from serving.feed.lists import FeedLists
from serving.feed.translations import Translations
from serving.feed.visit import MODELS, Visit
from serving.state.erased_users import ErasedUsers
from serving.versions.live_state import Catalogue

CLOCK_SECONDS = 1.0
"""A list may seem to be made so much later than now."""
ADDED_MARGIN_SECONDS = 2.0
"""Another worker may learn of a new item so much later."""


class KeptLists:
    """Used from one event loop."""

    def __init__(self, lists: FeedLists, translations: Translations, erased: ErasedUsers) -> None:
        self._lists = lists
        self._translations = translations
        self._erased = erased

    def put(self, visit: Visit, kept: FeedList) -> None:
        self._lists.put(visit.key, kept)

    def close(self) -> None:
        self._lists.close()

    async def find(self, visit: Visit) -> FeedList | None:
        """The list, if its rows can be read; None: there has to be a new one."""
        request = visit.request
        if request.feed_id is None:
            kept = self._lists.latest(visit.key)
        else:
            kept = self._lists.get(request.feed_id)
        if kept is None or not self._may_be_read(kept, visit):
            return None
        if request.feed_id is None and request.offset == 0:
            return kept if _is_as_new(kept, visit) else None
        # Further pages stay as the feed began, whatever the user would get now.
        return kept if await self.is_readable(kept, catalogue_of(kept, visit)) else None

    async def is_readable(self, kept: FeedList, catalogue: Catalogue) -> bool:
        """Whether the list's rows are known in the catalogue."""
        return kept.catalogue == catalogue.name or await self._translations.can_read(
            kept.catalogue, catalogue
        )

    def behind(self, before: FeedList, visit: Visit, after: FeedList) -> FeedList:
        """``after``, behind what the user was shown of ``before``: nothing is repeated, and pages
        go on where they were.

        Args:
            before: readable in the visit's catalogue, which is that of ``after``.
        """
        catalogue, shown = visit.catalogue, visit.request.offset
        rows = self._translations.read(catalogue, before, slice(shown))
        ids = [catalogue.live.item_id(row) if row >= 0 else "" for row in rows.tolist()]
        new = ~np.isin(self._translations.read(catalogue, after, slice(None)), rows[rows >= 0])
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(before, name)[:shown], getattr(after, name)[new]])
            for name in ("scores", "sources", "propensities", "explored")
        }
        unknown = np.full((len(ids), after.chances.shape[1]), np.nan, np.float32)
        joined["chances"] = np.concatenate([unknown, after.chances[new]])
        added = -1 - len(after.extra_ids) - np.arange(len(ids), dtype=np.int32)
        return replace(
            after,
            rows=np.concatenate([added, after.rows[new]]).astype(np.int32),
            extra_ids=[*after.extra_ids, *ids],
            **joined,
        )

    def _may_be_read(self, kept: FeedList, visit: Visit) -> bool:
        """Whether it is the user's, of a person who was not erased since, made as they want it,
        and not too old."""
        meta, user_id = kept.meta, visit.request.user_id
        if visit.request.feed_id is not None and meta["user_id"] != user_id:
            return False
        if visit.now - kept.made_at > visit.state.profile.serving.list_minutes * 60:
            return False
        if meta.get("erased", 0.0) != self._erased.at(user_id):
            return False
        return visit.viewer.preferences.personalized or meta["variant"] not in MODELS


def _is_as_new(kept: FeedList, visit: Visit) -> bool:
    """Whether nothing that counts has changed since the list was ranked a short while ago."""
    state, meta, live = visit.state, kept.meta, visit.catalogue.live
    added_at = live.changed_at(visit.request.user_id) + ADDED_MARGIN_SECONDS
    return (
        # One of the future was made before the clock was set back: its age is not known.
        -CLOCK_SECONDS < visit.now - kept.made_at < state.profile.serving.reuse_seconds
        and kept.catalogue == visit.catalogue.name
        and meta["fallback_reason"] == visit.fallback
        and meta.get("plan") == visit.choice.plan.mark
        and meta.get("history") == visit.history
        and kept.made_at > max(added_at, state.profile_since)
    )


def catalogue_of(kept: FeedList, visit: Visit) -> Catalogue:
    """The one that the list's rows are of, if it is in use; else the visit's."""
    in_use = (visit.catalogue, *visit.state.catalogues)
    return next((other for other in in_use if other.name == kept.catalogue), visit.catalogue)
