"""What a request tells besides who asks: when, and on what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self, get_args

Device = Literal["phone", "tablet", "desktop"]
DEVICES: tuple[Device, ...] = get_args(Device)
_TABLET = re.compile(r"iPad|Tablet|PlayBook|Silk|Android(?!.*Mobi)")
_PHONE = re.compile(r"Mobi|iPhone|iPod")


@dataclass(frozen=True)
class Context:
    """
    Attributes:
        hour: in [0, 24), UTC.
        weekday: 0 Monday to 6 Sunday, UTC.
        device: None: not known.
    """

    hour: float
    weekday: int
    device: Device | None = None

    @classmethod
    def at(cls, now: float, device: Device | None = None) -> Self:
        """Of a request at ``now``, epoch seconds."""
        moment = datetime.fromtimestamp(now, UTC)
        hour = moment.hour + moment.minute / 60 + moment.second / 3600
        return cls(hour, moment.weekday(), device)


def device_of(user_agent: str | None) -> Device | None:
    """The kind of device that a browser's ``User-Agent`` tells; None: no browser.

    ``Mobi`` is what browsers have agreed on for phones; Android without it is a tablet. An iPad
    that asks for desktop pages says that it is a Mac, and is taken for one.
    """
    if not user_agent or not user_agent.startswith("Mozilla/"):
        return None
    if _TABLET.search(user_agent):
        return "tablet"
    return "phone" if _PHONE.search(user_agent) else "desktop"
