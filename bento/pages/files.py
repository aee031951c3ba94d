"""Files of a page, kept in memory, with headers that allow only files of this server to load or run."""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# only files of this server: text of requests or of the catalogue cannot become a script
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes(folder: Path, *, index: str, others: str, policy: str = POLICY) -> list[Route]:
    """Return the routes of the files of a folder: index.html at the address `index`, the others below `others`."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in TYPES]
    return [file(path, index if path.name == "index.html" else f"{others}/{path.name}", policy) for path in files]


def file(path: Path, address: str, policy: str = POLICY) -> Route:
    """Return the route of a file; the file is read once, so that no request names a path on the disk."""
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {**HEADERS, "Content-Security-Policy": policy, "ETag": etag}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[path.suffix])

    return Route(address, answer, methods=["GET"])
