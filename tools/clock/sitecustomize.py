"""Sleeping for all Python processes under libfaketime, which tools/test_clock.sh starts.

libfaketime 0.9.10, Debian's, subtracts its offset from deadlines on the monotonic clock although
that is not moved, so ``time.sleep`` of Python 3.11 and later raises EINVAL:
https://github.com/wolfcw/libfaketime/issues/426
"""

import select
import time


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


time.sleep = _sleep
