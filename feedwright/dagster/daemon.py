"""Dagster's daemon, on a clock that may be set back.

A sensor waits until its last tick is long enough ago, a schedule until the clock has passed its
last one, and both would rest for a day after the clock was set back by one. So what lies in the
future is brought to now before the daemon begins, and when the clock is set back while it runs it
begins anew, since it remembers its schedules' times.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from dagster import DagsterInstance

from feedwright.dagster.internals import InstigatorState, InstigatorType, run_daemon

log = logging.getLogger("feedwright")

LOOK_SECONDS = 5.0
LARGEST_STEP = 60.0
"""Seconds by which a clock may be set back without consequence: sensors rest for so long."""
TIMES = {
    InstigatorType.SCHEDULE: ("start_timestamp", "last_iteration_timestamp"),
    InstigatorType.SENSOR: (
        "last_tick_timestamp",
        "last_tick_start_timestamp",
        "last_sensor_start_timestamp",
        "last_tick_success_timestamp",
    ),
}
"""What Dagster remembers of each kind, in epoch seconds."""


def main() -> None:
    with DagsterInstance.get() as instance:
        leave_future(instance, time.time())
    set_back = threading.Event()
    threading.Thread(target=_watch_clock, args=[set_back], daemon=True).start()
    run_daemon(sys.argv[1:])
    if set_back.is_set():
        os.execv(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]])


def leave_future(instance: DagsterInstance, now: float) -> None:
    """Bring what Dagster remembers of sensors and schedules to ``now``, in epoch seconds, where it
    is later."""
    for state in instance.all_instigator_state():
        data: Any = state.instigator_data
        if data is None:
            continue
        times = {name: getattr(data, name) for name in TIMES.get(state.instigator_type, ())}
        future = {name: now for name, at in times.items() if at is not None and at > now}
        if future:
            log.warning("%s was at work in the future: it goes on now", state.instigator_name)
            instance.update_instigator_state(state.with_data(data._replace(**future)))
        if state.instigator_type is InstigatorType.SCHEDULE:
            _bring_ticks(instance, state, now)


def _bring_ticks(instance: DagsterInstance, state: InstigatorState, now: float) -> None:
    """A schedule goes on after its last tick."""
    origin = state.instigator_origin_id
    for tick in instance.get_ticks(origin, state.selector_id, after=now):
        moved = tick.tick_data.with_status(tick.status, timestamp=now)
        instance.update_tick(tick._replace(tick_data=moved))


def _watch_clock(set_back: threading.Event) -> None:
    """End Dagster's daemon when the clock is set back."""
    ahead = time.time() - time.monotonic()
    while True:
        time.sleep(LOOK_SECONDS)
        before, ahead = ahead, time.time() - time.monotonic()
        if ahead < before - LARGEST_STEP:
            log.warning("the clock was set back by %.0f s: the daemon begins anew", before - ahead)
            set_back.set()
            os.kill(os.getpid(), signal.SIGTERM)
            return


if __name__ == "__main__":
    main()
