"""What a clock that was set back leaves behind: times in the future.

Whatever waits for such a time would wait until the clock is again as late as it was, so it counts
as past.
"""

from datetime import timedelta

CLOCKS_DIFFER = timedelta(minutes=5)
"""Clocks of two machines may differ by so much: what is later is of a clock that was set back."""
