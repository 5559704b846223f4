"""The page ``/admin``: files of this package. What it shows needs a key, the page does not."""

from __future__ import annotations

from starlette.routing import Route

from serving.pages import demo

ASSETS = demo.ASSETS.parent / "admin"


def routes() -> list[Route]:
    files = {path.name: demo.Asset.read(path) for path in sorted(ASSETS.iterdir())}
    page = files.pop("index.html")
    return [
        Route("/admin", page.respond),
        *(Route(f"/admin/{name}", asset.respond) for name, asset in files.items()),
    ]
