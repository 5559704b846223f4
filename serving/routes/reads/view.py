"""Who asks, and what there is to show them, at one moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from models.catalogue.live import LiveCatalogue
from models.catalogue.viewers.viewer import History, Indices, Viewer
from models.feed.candidates.rules import Mask, allowed
from models.profile.schema import Profile
from serving.versions.fallback import FallbackReason
from serving.versions.live_state import Catalogue, LiveState


@dataclass(frozen=True)
class View:
    """
    Attributes:
        viewer: as they are, for the rules.
        taste: what ranking may know of them: all, or only the place of somebody who does not
            want to be known.
        now: epoch seconds.
        fallback: why the champion would not rank for them; None: it would.
    """

    state: LiveState
    catalogue: Catalogue
    viewer: Viewer
    now: float
    fallback: FallbackReason | None

    @property
    def live(self) -> LiveCatalogue:
        return self.catalogue.live

    @property
    def profile(self) -> Profile:
        return self.state.profile

    @property
    def taste(self) -> Viewer:
        return self.viewer if self.viewer.preferences.personalized else self.viewer.impersonal()

    def allowed(
        self,
        rows: Indices,
        *,
        exclude_seen: bool | None = False,
        exclude_applied: bool | None = None,
    ) -> Mask:
        """Where no rule excludes an item, shape (n,).

        Args:
            exclude_seen: None: as the profile has it for feeds.
        """
        return allowed(
            self.live,
            self.viewer,
            self.profile,
            rows,
            now=self.now,
            exclude_seen=exclude_seen,
            exclude_applied=exclude_applied,
        )


class Views:
    """Makes views of what is live."""

    def __init__(
        self,
        live: Callable[[], LiveState],
        database_up: Callable[[], bool],
        history: Callable[[str | None, LiveCatalogue], History | None],
    ) -> None:
        """
        Args:
            history: what is at hand of what a user did.
        """
        self._live = live
        self._database_up = database_up
        self._history = history

    @property
    def state(self) -> LiveState:
        return self._live()

    def of(
        self, user_id: str | None, *, lat: float | None = None, lon: float | None = None
    ) -> View | None:
        """What this user may see; None: there is no catalogue."""
        state, now = self._live(), time.time()
        if state.catalogue is None:
            return None
        live = state.catalogue.live
        viewer = live.viewer(user_id, lat=lat, lon=lon, history=self._history(user_id, live))
        fallback = state.fallback_for(viewer, now, self._database_up())
        return View(state, state.catalogue, viewer, now, fallback)
