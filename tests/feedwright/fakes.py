"""Services that are nothing but a small web server, for tests of the supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.common.ports import free_port
from feedwright.processes.services import Service

SERVER = """
import http.server, subprocess, sys
if "--with-worker" in sys.argv:
    # a worker in a session of its own, which no process group finds
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)\
.serve_forever()
"""


def web_server(name: str, *, with_worker: bool = False) -> Service:
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port)] + ["--with-worker"] * with_worker
    url = f"http://127.0.0.1:{port}"
    return Service(name, command, dict(os.environ), f"{url}/")


def program(name: str, code: str) -> Service:
    return Service(name, [sys.executable, "-c", code], dict(os.environ))


def supervise_for_ever(home: Path) -> None:
    """What a process of its own runs, to be killed by the test."""
    from feedwright.processes.supervisor import Supervisor

    supervisor = Supervisor(home, home / "logs", [web_server("web", with_worker=True)], folder=home)
    supervisor.start()
    supervisor.wait_ready()
    supervisor.declare_ready()
    while True:
        supervisor.look()
        import time

        time.sleep(0.1)


if __name__ == "__main__":
    supervise_for_ever(Path(sys.argv[1]))
