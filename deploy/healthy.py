"""Exit status 0 when a page answers 2xx: the health check of containers without curl.

``healthy.py URL [SOCKET]``: by the Unix socket, if one is named.
"""

from __future__ import annotations

import http.client
import socket
import sys
from urllib.parse import urlsplit

SECONDS = 4
url, *through = sys.argv[1:]
try:
    page = urlsplit(url)
    connection = http.client.HTTPConnection(page.netloc, timeout=SECONDS)
    if through:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(SECONDS)
        connection.sock.connect(through[0])
    connection.request("GET", page.path)
    status = connection.getresponse().status
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"{url}: {error}")
if not 200 <= status < 300:
    sys.exit(f"{url}: {status}")
