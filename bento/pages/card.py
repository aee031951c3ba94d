"""The model card at /card, and at /report the report of the release gate, or the way to it."""

from __future__ import annotations

import hashlib
import html
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bento.api import openapi
from bento.pages import files

if TYPE_CHECKING:
    from bento.model.recommender import Recommender

PAGE = Path(__file__).with_name("card_page")
REPORT = "LONGTAIL_REPORT"  # path of the report, set by `longtail serve`
STYLED = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
POLICY = f"{STYLED}frame-ancestors 'none'"  # the report is one file without scripts, with its styles inside
PATHS: dict[str, Any] = {}  # the pages are for people, so the OpenAPI document does not list them


def routes(service: Recommender) -> list[BaseRoute]:
    style = files.file(PAGE / "card.css", "/card/card.css")

    async def card(request: Request) -> Response:
        return answer(page("Model card", rendered(openapi.card(service) or "This service has no model card."), service))

    async def report(request: Request) -> Response:
        if (content := await run_in_threadpool(report_of_gate)) is not None:
            return answer(content, policy=POLICY)
        return answer(page("Report of the release gate", way(service), service), status=404)

    return [style, Route("/card", card, methods=["GET"]), Route("/report", report, methods=["GET"])]


def answer(content: bytes, *, status: int = 200, policy: str = files.POLICY) -> Response:
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {**files.HEADERS, "Content-Security-Policy": policy, "ETag": etag}
    return Response(content, status, headers, media_type="text/html")


def rendered(markdown: str) -> str:
    """Return the HTML of Markdown; markup inside it stays text."""
    found: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    found = found.replace('style="text-align:right"', 'class="n"')  # the policy blocks styles in attributes
    # a wide table scrolls by itself, also with the keyboard, so that the page does not
    return found.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")


def page(title: str, content: str, service: Recommender) -> bytes:
    """Return a page of the folder card_page with a title and HTML as its content."""
    version = f"{service.version} · {service.tag}" if service.version else service.tag
    text = (PAGE / "index.html").read_text("utf-8")
    for name, value in (("title", html.escape(title)), ("version", html.escape(version)), ("content", content)):
        text = text.replace(f"<!-- {name} -->", value)
    return text.encode()


def report_of_gate() -> bytes | None:
    """Return the report that `longtail serve` fetched; None if it has not, or not yet."""
    path = os.environ.get(REPORT)
    try:
        return Path(path).read_bytes() if path else None
    except OSError:
        return None


def way(service: Recommender) -> str:
    """Return HTML that names the place of the report in the checkout that released this model."""
    name = service.tag.split(":")[0]
    revision = html.escape(f"{name}@{service.version}" if service.version else f"{name}@VERSION")
    which = "" if service.version else " <code>longtail status</code> lists the versions."
    return (
        "<h1>Report of the release gate</h1><p>This server does not have the report. In the checkout that released "
        f"this model, this command copies it:</p><pre><code>dvc get . data/gate/report.html --rev {revision}</code>"
        f"</pre><p>{which} The <a href='card'>model card</a> has the rules and their results.</p>"
    )
