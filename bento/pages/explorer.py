"""The explorer page at `/`, and its data: items, users, a user's history, columns to filter by."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from bento.api import previous
from bento.api.descriptions import answering, taking
from bento.api.refusals import refusal
from bento.api.schemas import Columns, Found, FoundUsers, HistoryOfUser, LookedUp, Lookup
from bento.model.titles import Titles
from bento.pages import files
from models.inference.postings import Postings

if TYPE_CHECKING:
    from bento.model.recommender import Recommender

PAGE = Path(__file__).with_name("explorer_page")
FOUND = 20  # items or users that a search shows
SHOWN = 100  # items of a history that are shown
VALUES = 100  # of a column that are listed
LONGEST = 256  # characters of a query


class Explorer:
    """Data of the page about one service."""

    def __init__(self, service: Recommender) -> None:
        self.service = service

    @cached_property
    def titles(self) -> Titles:
        return Titles(self.service.items.title, self.service.items.popularity)

    @cached_property
    def user_ids(self) -> Sequence[str]:
        return self.service.histories.user_id

    async def items(self, request: Request) -> JSONResponse:
        """Return items whose title contains `query`."""
        query = request.query_params.get("query", "")[:LONGEST]
        found = await run_in_threadpool(lambda: self.titles.search(query, FOUND))
        return JSONResponse({"items": [self.service.items.about(i) for i in found]})

    async def users(self, request: Request) -> JSONResponse:
        """Return users whose id begins with `query`; without one, a sample."""
        query = request.query_params.get("query", "")[:LONGEST]
        return JSONResponse({"users": await run_in_threadpool(lambda: beginning(self.user_ids, query))})

    async def history(self, request: Request) -> JSONResponse:
        """Return the items of a user's history, those reported since the model was built first."""
        user_id = request.query_params.get("user_id", "")
        if not 1 <= len(user_id) <= LONGEST:
            return JSONResponse({"error": f"user_id has {len(user_id)} characters, expected 1 to {LONGEST}"}, 400)
        recent = (await run_in_threadpool(self.service.recent, user_id)).tolist()
        packed = self.service.histories.get(user_id)
        indices = list(dict.fromkeys([*recent, *([] if packed is None else packed.tolist())]))
        shown = [self.service.items.about(i) for i in indices[:SHOWN]]
        return JSONResponse({"user_id": user_id, "n_items": len(indices), "items": shown})

    async def lookup(self, request: Request) -> JSONResponse:
        """Return items by their ids; 404 names those that the catalogue lacks."""
        try:
            asked = Lookup.model_validate_json(await request.body()).item_ids
        except ValidationError:
            return JSONResponse({"error": "the body is invalid, expected item_ids, a list of 1 to 1000 ids"}, 400)
        index = self.service.items.index
        if unknown := [item_id for item_id in asked if item_id not in index]:
            named = ", ".join(map(repr, unknown[:10])) + (", …" if len(unknown) > 10 else "")
            return JSONResponse({"error": f"the catalogue of {self.service.tag} lacks {named}"}, 404)
        return JSONResponse({"n_items": len(asked), "items": [self.service.items.about(index[i]) for i in asked]})

    async def columns(self, request: Request) -> JSONResponse:
        """Return the columns to filter by, with their most frequent values."""
        return JSONResponse({"columns": self.columns_of_items})

    @cached_property
    def columns_of_items(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "n_values": len(column.values), "values": frequent(column)}
            for name, column in self.service.items.columns.items()
        ]


def frequent(column: Postings) -> list[dict[str, Any]]:
    """Return at most VALUES values of a column, those of the most items first."""
    counts = np.diff(column.ends, prepend=0)
    top = np.argsort(-counts, kind="stable")[:VALUES].tolist()
    return [{"value": column.values[v], "items": int(counts[v])} for v in top]


def beginning(user_ids: Sequence[str], query: str) -> list[str]:
    """Return at most FOUND of the sorted ids that begin with `query`."""
    if not query:
        return list(user_ids[:: max(1, -(-len(user_ids) // FOUND))])
    start = bisect_left(user_ids, query)
    return [user_id for user_id in user_ids[start : start + FOUND] if user_id.startswith(query)]


def routes(service: Recommender) -> list[BaseRoute]:
    explorer = Explorer(service)
    return [
        *files.routes(PAGE, index="/", others="/explorer"),
        Route("/items", explorer.items, methods=["GET"]),
        Route("/users", explorer.users, methods=["GET"]),
        Route("/history", explorer.history, methods=["GET"]),
        Route("/lookup", explorer.lookup, methods=["POST"]),
        Route("/columns", explorer.columns, methods=["GET"]),
        *previous.routes(),
    ]


def query_parameter(name: str, *, required: bool = False) -> dict[str, Any]:
    schema = {"type": "string", "maxLength": LONGEST, **({"minLength": 1} if required else {})}
    return {"name": name, "in": "query", "required": required, "schema": schema}


PATHS: dict[str, Any] = {  # of the OpenAPI document
    "/items": {
        "get": {
            "summary": "Search items by title, the most popular first.",
            "parameters": [query_parameter("query")],
            "responses": {"200": answering("At most 20 items", Found)},
        }
    },
    "/users": {
        "get": {
            "summary": "Search users by the beginning of their id; without a query, a sample.",
            "parameters": [query_parameter("query")],
            "responses": {"200": answering("At most 20 ids", FoundUsers)},
        }
    },
    "/history": {
        "get": {
            "summary": "Return the items that a user interacted with, the latest feedback first.",
            "parameters": [query_parameter("user_id", required=True)],
            "responses": {"200": answering("At most 100 items, and how many there are", HistoryOfUser)},
        }
    },
    "/lookup": {
        "post": {
            "summary": "Return items by their ids.",
            "requestBody": taking(Lookup),
            "responses": {
                "200": answering("The items", LookedUp),
                "404": refusal(
                    "An id is not in the catalogue", "the catalogue of longtail:caa4269246d0 lacks 'b99999'"
                ),
            },
        }
    },
    "/columns": {
        "get": {
            "summary": "Return the columns to filter by, with their most frequent values.",
            "responses": {"200": answering("At most 100 values of each column", Columns)},
        }
    },
    **previous.PATHS,
}
