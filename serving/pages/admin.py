"""The page ``/admin``: files of this package. What it shows needs a key, the page does not."""

from __future__ import annotations

from serving.http.endpoints import Endpoints
from serving.pages import demo

ASSETS = demo.ASSETS.parent / "admin"


endpoints = Endpoints(tag="pages", scope="public")
demo.declare(endpoints, "/admin", "/admin", ASSETS)
