"""/metrics for Prometheus, and /exposure for `longtail monitor`: counters, and the exposure of the served lists."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from bento.api.descriptions import answering
from bento.api.schemas import Model, Strict
from bento.model.recommender import Recommender
from bento.monitoring.exposure_window import Exposure


def routes(service: Recommender) -> list[BaseRoute]:
    watch = service.watch

    async def metrics(request: Request) -> Response:
        text = await run_in_threadpool(watch.metrics)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def exposure(request: Request) -> JSONResponse:
        window = await run_in_threadpool(watch.window.exposure)
        return JSONResponse({"model": service.tag, "window": window.plain(), "gate": watch.gate})

    return [Route("/metrics", metrics, methods=["GET"]), Route("/exposure", exposure, methods=["GET"])]


class Judged(Strict):
    k: int
    lists: int | None
    tail_share: float | None
    tail_coverage: float | None


class Exposed(Strict):
    model: Model
    window: Exposure
    gate: Judged


PATHS: dict[str, Any] = {  # of the OpenAPI document
    "/metrics": {
        "get": {
            "summary": "Return counters, and the exposure of the lists served last, for Prometheus.",
            "responses": {
                "200": {
                    "description": "Prometheus' text format",
                    "content": {"text/plain": {"schema": {"type": "string"}}},
                }
            },
        }
    },
    "/exposure": {
        "get": {
            "summary": "Return the tail exposure of the lists served last, beside the figures of the release gate.",
            "responses": {"200": answering("Figures of the lists served last, and of the release gate", Exposed)},
        }
    },
}
