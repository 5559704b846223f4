"""TCP ports of loopback for servers that are started a moment later."""

from __future__ import annotations

import random
import socket

BELOW_OUTGOING = range(12_000, 32_000)
"""Linux gives outgoing connections ports from 32768 on. A free one of those may be somebody's by
the time that the server binds it."""


def free_port() -> int:
    """One that nobody listens on."""
    for port in random.SystemRandom().sample(BELOW_OUTGOING, len(BELOW_OUTGOING)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port of loopback is free")
