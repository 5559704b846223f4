"""``python -m gateway``: serve the consoles on the ports of the settings."""

from __future__ import annotations

import socket

from gateway.app import Gateway, server
from gateway.consoles import consoles
from storage.settings import get_settings


def main() -> None:
    settings = get_settings()
    served = consoles(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = [
        socket.create_server((settings.host, console.port), family=family, backlog=1024)
        for console in served
    ]
    gateway = Gateway(served, {settings.host, *settings.allowed_host_names})
    server(gateway).run(listening)


if __name__ == "__main__":
    main()
