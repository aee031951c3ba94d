"""Forward requests to the server of the previous version, at LONGTAIL_PREVIOUS_URL, to compare answers."""

from __future__ import annotations

import os
from typing import Any

import httpx
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from bento.api.descriptions import answering, taking
from bento.api.refusals import refusal
from bento.api.schemas import Answer, Available, ForItems, ForText, ForUser, TextAnswer

ENDPOINTS: dict[str, tuple[type[BaseModel], type[BaseModel]]] = {
    "recommend": (ForUser, Answer),
    "recommend_for_items": (ForItems, Answer),
    "recommend_for_text": (ForText, TextAnswer),
}
NONE = "no previous version runs beside this one; `longtail serve --compare` starts it"
SILENT = "the previous version does not answer"
INCOMPARABLE = "this endpoint has no comparison with the previous version"
FORWARDED = ("authorization", "x-api-key")  # both versions require the same credentials


class Previous:
    def __init__(self, url: str | None) -> None:
        self.url = url

    async def available(self, request: Request) -> JSONResponse:
        return JSONResponse({"available": self.url is not None})

    async def ask(self, request: Request) -> Response:
        """Return the previous version's answer to the same request."""
        endpoint = request.path_params["endpoint"]
        if self.url is None or endpoint not in ENDPOINTS:
            return JSONResponse({"error": NONE if self.url is None else INCOMPARABLE}, 404)
        headers = {"content-type": "application/json"}
        headers |= {name: request.headers[name] for name in FORWARDED if name in request.headers}
        headers["x-longtail-purpose"] = "explore"
        try:
            async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
                answer = await client.post(f"{self.url}/{endpoint}", content=await request.body(), headers=headers)
        except httpx.HTTPError:
            return JSONResponse({"error": SILENT}, 502)
        return Response(answer.content, answer.status_code, media_type="application/json")


def routes() -> list[BaseRoute]:
    previous = Previous(os.environ.get("LONGTAIL_PREVIOUS_URL") or None)
    return [
        Route("/previous", previous.available, methods=["GET"]),
        Route("/previous/{endpoint}", previous.ask, methods=["POST"]),
    ]


PATHS: dict[str, Any] = {  # of the OpenAPI document
    "/previous": {
        "get": {
            "summary": "Return whether the previous version runs beside this one.",
            "responses": {"200": answering("The answer", Available)},
        }
    },
    **{
        f"/previous/{name}": {
            "post": {
                "summary": f"Return the previous version's answer to a request of /{name}.",
                "requestBody": taking(takes),
                "responses": {
                    "200": answering("The answer of the previous version", answers),
                    "404": refusal("No previous version runs beside this one, or an item is unknown to it", NONE),
                    "502": refusal("The previous version does not answer", SILENT),
                },
            }
        }
        for name, (takes, answers) in ENDPOINTS.items()
    },
}
