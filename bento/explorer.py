"""The page for people at `/`, and what it asks for: search among items and users, a user's history."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from bento import previous
from bento.schemas import Id, Strict
from bento.titles import Titles

if TYPE_CHECKING:
    from bento.recommender import Recommender

PAGE = Path(__file__).with_name("explorer_page")
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
FOUND = 20  # items or users that a search shows
SHOWN = 100  # items of a history that are shown
LONGEST = 256  # characters of a query
HEADERS = {
    # nothing but files of this server: what is typed in, or comes from a catalogue, cannot become a script
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class Lookup(Strict):
    item_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class Explorer:
    """What the page shows of one service."""

    def __init__(self, service: Recommender) -> None:
        self.service = service

    @cached_property
    def titles(self) -> Titles:
        return Titles(self.service.items.title, self.service.items.popularity)

    @cached_property
    def user_ids(self) -> Sequence[str]:
        return self.service.histories.user_id

    def item(self, i: int) -> dict[str, Any]:
        items = self.service.items
        about = {"item_id": items.item_id[i], "title": items.title[i], "segment": items.segment[i]}
        return {**about, "popularity": int(items.popularity[i])}

    async def items(self, request: Request) -> JSONResponse:
        """Items whose title holds `query`."""
        query = request.query_params.get("query", "")[:LONGEST]
        found = await run_in_threadpool(lambda: self.titles.search(query, FOUND))
        return JSONResponse({"items": [self.item(i) for i in found]})

    async def users(self, request: Request) -> JSONResponse:
        """Users whose id begins with `query`; without one, a few from all over."""
        query = request.query_params.get("query", "")[:LONGEST]
        return JSONResponse({"users": await run_in_threadpool(lambda: beginning(self.user_ids, query))})

    async def history(self, request: Request) -> JSONResponse:
        """What a user has touched, what was reported since the model was built first."""
        user_id = request.query_params.get("user_id", "")
        if not 1 <= len(user_id) <= LONGEST:
            return JSONResponse({"error": f"user_id has {len(user_id)} characters, expected 1 to {LONGEST}"}, 400)
        recent = (await run_in_threadpool(self.service.recent, user_id)).tolist()
        packed = self.service.histories.get(user_id)
        indices = list(dict.fromkeys([*recent, *([] if packed is None else packed.tolist())]))
        shown = [self.item(i) for i in indices[:SHOWN]]
        return JSONResponse({"user_id": user_id, "n_items": len(indices), "items": shown})

    async def lookup(self, request: Request) -> JSONResponse:
        """Items by their ids; 404 names those that the catalogue lacks."""
        try:
            asked = Lookup.model_validate_json(await request.body()).item_ids
        except ValidationError:
            return JSONResponse({"error": "expected item_ids, a list of 1 to 1000 ids"}, 400)
        index = self.service.items.index
        if unknown := [item_id for item_id in asked if item_id not in index]:
            named = ", ".join(map(repr, unknown[:10])) + (", …" if len(unknown) > 10 else "")
            return JSONResponse({"error": f"the catalogue of {self.service.tag} lacks {named}"}, 404)
        return JSONResponse({"n_items": len(asked), "items": [self.item(index[i]) for i in asked]})


def beginning(user_ids: Sequence[str], query: str) -> list[str]:
    """At most FOUND of the sorted ids that begin with `query`."""
    if not query:
        return list(user_ids[:: max(1, -(-len(user_ids) // FOUND))])
    start = bisect_left(user_ids, query)
    return [user_id for user_id in user_ids[start : start + FOUND] if user_id.startswith(query)]


def page(path: Path) -> Route:
    """A file of the page at its address; read once, so that no request names a file of the disk."""
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {**HEADERS, "ETag": etag}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[path.suffix])

    return Route("/" if path.name == "index.html" else f"/explorer/{path.name}", answer, methods=["GET"])


def routes(service: Recommender) -> list[BaseRoute]:
    explorer = Explorer(service)
    return [
        *(page(path) for path in sorted(PAGE.iterdir()) if path.suffix in TYPES),
        Route("/items", explorer.items, methods=["GET"]),
        Route("/users", explorer.users, methods=["GET"]),
        Route("/history", explorer.history, methods=["GET"]),
        Route("/lookup", explorer.lookup, methods=["POST"]),
        *previous.routes(),
    ]


def query_parameter(name: str, *, required: bool = False) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": LONGEST, **({"minLength": 1} if required else {})}
    return {"name": name, "in": "query", "required": required, "schema": schema}


PATHS: dict[str, Any] = {  # of the OpenAPI document
    "/items": {
        "get": {
            "summary": "Items whose title holds a text, the most popular first.",
            "parameters": [query_parameter("query")],
            "responses": {"200": {"description": "at most 20 items"}},
        }
    },
    "/users": {
        "get": {
            "summary": "Users whose id begins with a text; a few from all over without one.",
            "parameters": [query_parameter("query")],
            "responses": {"200": {"description": "at most 20 ids"}},
        }
    },
    "/history": {
        "get": {
            "summary": "What a user has touched, the latest reports first.",
            "parameters": [query_parameter("user_id", required=True)],
            "responses": {
                "200": {"description": "at most 100 items, and how many there are"},
                "400": {"description": "no user_id"},
            },
        }
    },
    "/lookup": {
        "post": {
            "summary": "Items by their ids.",
            "requestBody": {"required": True, "content": {"application/json": {"schema": Lookup.model_json_schema()}}},
            "responses": {
                "200": {"description": "the items, in order"},
                "400": {"description": "no list of ids"},
                "404": {"description": "names the ids that the catalogue lacks"},
            },
        }
    },
    **previous.PATHS,
}
