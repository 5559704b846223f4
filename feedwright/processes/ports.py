"""Whether the ports that we want are free, and who holds those that are not."""

from __future__ import annotations

import socket
from contextlib import suppress

import psutil

from feedwright.errors import FeedwrightError


def is_free(host: str, port: int) -> bool:
    """Whether a server may listen on ``port`` now.

    Raises:
        FeedwrightError: this machine has no such address, or the port is not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError as error:
            raise FeedwrightError(
                f"Port {port} needs more rights than this user has.", "Use one above 1023."
            ) from error
        except socket.gaierror as error:
            raise FeedwrightError(f"No such address: FEEDWRIGHT_HOST={host}.") from error
        except OSError as error:
            if error.strerror and "assign" in error.strerror:
                raise FeedwrightError(
                    f"This machine has no address FEEDWRIGHT_HOST={host}.",
                    "Use 127.0.0.1 for this machine alone, or 0.0.0.0 for all its addresses.",
                ) from error
            return False
    return True


def holder(port: int) -> str:
    """The process that listens on ``port``, in words."""
    with suppress(psutil.Error):  # other users' processes may be hidden from us
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,):
                if connection.pid is None:
                    break
                return f"{psutil.Process(connection.pid).name()}, process {connection.pid}"
    return "a process that this user may not see"


def require_free(host: str, port: int, variable: str) -> None:
    """Raises FeedwrightError, which names who holds the port and how to take another."""
    if is_free(host, port):
        return
    other = next((p for p in range(port + 1, min(port + 100, 65536)) if is_free(host, p)), 0)
    raise FeedwrightError(
        f"Port {port} is taken by {holder(port)}.",
        f"Stop that, or choose another: {variable}={other or '…'} feedwright up",
    )
