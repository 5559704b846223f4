"""One worker: the Bento's ASGI application on the socket of ``serving/runner.py``."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import resource
import signal
import socket
import threading
from importlib import import_module

import bentoml
import uvicorn

from serving.telemetry import logs

STOP_SECONDS = 5
"""Requests that are on their way may take so long when the worker stops."""
KEEP_ALIVE_SECONDS = 5


def load(name: str) -> bentoml.Service:
    """The service ``module:name``."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serving.worker", description=__doc__)
    parser.add_argument("service")
    parser.add_argument("--fd", type=int, required=True, help="of the listening socket")
    given = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Each snapshot maps some seventy files, and each client is one: often 1,024 are allowed.
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    faulthandler.enable()  # what ends it hard leaves a trace in the log
    logs.configure()  # the application sets the level
    logging.getLogger().addHandler(logs.handler())  # warnings of libraries
    threading.Thread(target=_end_with_the_runner, daemon=True).start()
    config = uvicorn.Config(
        load(given.service).to_asgi(),
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=given.fd)])


def _end_with_the_runner() -> None:
    """Standard input ends when the runner is gone, however it went."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
