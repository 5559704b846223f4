"""Where the time of one request goes."""

from __future__ import annotations

from time import perf_counter


class StageTimer:
    """Seconds by stage; ``ended`` ends the stage that runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def ended(self, stage: str) -> None:
        now = perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
