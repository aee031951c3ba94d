"""The same search behind a plain FastAPI and a plain Starlette application, as usually written."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bento.model.recommender import NOTHING, Recommender


class Query(BaseModel):
    user_id: str
    k: int = 10
    exclude_seen: bool = True


class Item(BaseModel):
    item_id: str
    title: str
    segment: str
    popularity: int
    score: float


class Answer(BaseModel):
    model: str
    fallback: str | None
    items: list[Item]


def search(service: Recommender, user_id: str, k: int, exclude_seen: bool) -> dict[str, Any]:
    history = service.history(user_id)
    if history is None:
        raise LookupError(user_id)
    found, scores = service.recommend_list(history, None, history if exclude_seen else NOTHING, k)
    names = service.items
    items = [
        {
            "item_id": names.item_id[i],
            "title": names.title[i],
            "segment": names.segment[i],
            "popularity": int(names.popularity[i]),
            "score": score,
        }
        for i, score in zip(found.tolist(), scores.tolist(), strict=True)
    ]
    return {"model": service.tag, "fallback": None, "items": items}


def fastapi(service: Recommender) -> FastAPI:
    app = FastAPI()

    @app.post("/recommend")
    async def recommend(query: Query) -> Answer:
        return Answer.model_validate(search(service, query.user_id, query.k, query.exclude_seen))

    return app


def starlette(service: Recommender) -> Starlette:
    async def recommend(request: Request) -> JSONResponse:
        query = await request.json()
        return JSONResponse(search(service, query["user_id"], query["k"], query.get("exclude_seen", True)))

    return Starlette(routes=[Route("/recommend", recommend, methods=["POST"])])


if __name__ == "__main__":
    application = {"fastapi": fastapi, "starlette": starlette}[sys.argv[1]](Recommender())
    uvicorn.run(application, port=int(sys.argv[2]), log_level="error", access_log=False)
