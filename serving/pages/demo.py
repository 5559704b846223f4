"""The page ``/``: the feed on the real API, from files of this package and nowhere else."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from serving.http.endpoints import Endpoints

ASSETS = Path(__file__).parents[1] / "assets" / "demo"
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
HEADERS = {
    # Kept by the browser, but asked about on every visit: the names hold no version.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Asset:
    """One file, as it is and gzipped, both kept in memory."""

    body: bytes
    gzipped: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> Asset:
        body = path.read_bytes()
        # Weak: the same tag for both encodings.
        etag = f'W/"{hashlib.sha256(body).hexdigest()[:20]}"'
        return cls(body, gzip.compress(body, mtime=0), MEDIA_TYPES[path.suffix], etag)

    async def respond(self, request: Request) -> Response:
        headers = {**HEADERS, "ETag": self.etag}
        etags = request.headers.get("if-none-match", "")
        if self.etag in (tag.strip() for tag in etags.split(",")):
            return Response(status_code=304, headers=headers)
        body = self.body
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = self.gzipped
        return Response(body, media_type=self.media_type, headers=headers)


def declare(endpoints: Endpoints, page: str, folder: str, assets: Path) -> None:
    """The page of ``assets`` at ``page``, and its other files below ``folder``."""
    for path in sorted(assets.iterdir()):
        address = page if path.name == "index.html" else f"{folder}/{path.name}"
        endpoints.declare(f"GET {address}")(Asset.read(path).respond)


endpoints = Endpoints(tag="pages", scope="public")
declare(endpoints, "/", "/demo", ASSETS)
