"""POST /feedback: impressions, clicks, likes and purchases, acknowledged once durable, and stored once."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, RootModel, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from bento.api.descriptions import RETRY, answering, taking
from bento.api.refusals import refusal
from bento.api.schemas import Model, Strict
from bento.feedback.batching import Batcher, BusyError, DownError
from bento.feedback.rate_limit import RateLimit
from bento.feedback.recent import Recent
from bento.feedback.store import Events, Outcome
from bento.feedback.telemetry import FeedbackWatch
from models.inference import event_bounds
from models.inference.feedback_event import Event, Kind

if TYPE_CHECKING:
    from bento.model.recommender import Recommender

MOST_EVENTS = 1000  # per request
MOST_WAITING = 20_000  # events that wait for the disk, of all requests
WRITE_SECONDS = 5.0  # deadline of a transaction
PATIENCE_SECONDS = 11.0  # deadline of a request: of the transaction under way, then of its own
PATH = "/feedback"
EVENTS_PER_SECOND, BURST = 1000.0, 5000.0  # per client and worker; LONGTAIL_FEEDBACK_RATE sets the first
MOST_PROBLEMS = 100  # listed in an answer

# the bounds of ingest: another id would be a malformed row of an export
Id = Annotated[str, Field(min_length=1, max_length=event_bounds.MAX_ID, pattern=event_bounds.ID)]


def not_in_future(timestamp: float) -> float:
    if timestamp > time.time() + event_bounds.CLOCK_SKEW:
        raise ValueError("timestamp is more than a day in the future; send seconds since 1970, in UTC")
    return timestamp


Timestamp = Annotated[
    float,
    Field(ge=event_bounds.FIRST, lt=event_bounds.LAST, description="seconds since 1970, at most a day in the future"),
    AfterValidator(not_in_future),
]


class FeedbackEvent(Strict):
    """One event; a retry repeats its `event_id` and everything else."""

    event_id: Id
    user_id: Id
    item_id: Id
    kind: Kind
    value: Annotated[float, Field(ge=event_bounds.LEAST_VALUE, le=event_bounds.LARGEST_VALUE)] | None = None
    timestamp: Timestamp | None = None

    def event(self) -> Event:
        return Event(**self.model_dump())


class Feedback(Strict):
    events: Annotated[list[FeedbackEvent], Field(min_length=1, max_length=MOST_EVENTS)]


class Writer(Batcher[Event, Outcome]):
    """Batcher that stores the events of many requests in one transaction: a single sync for many clients."""

    def __init__(self, events: Events) -> None:
        self.events = events
        super().__init__(
            "events are stored", lambda batch: self.events.add(batch), lambda: self.events.probe(),
            seconds=WRITE_SECONDS, most=lambda: MOST_WAITING,
        )  # fmt: skip


def parse(body: bytes) -> list[FeedbackEvent]:
    """Return the events of a body: one event or a list of `events`; raises ValidationError or ValueError."""
    document = json.loads(body)
    if isinstance(document, dict) and "events" not in document:
        return [FeedbackEvent.model_validate_json(body)]
    return Feedback.model_validate_json(body).events


def invalid(error: ValueError | RecursionError) -> dict[str, Any]:
    """Return the errors of a body, without repeating its values."""
    if isinstance(error, ValidationError):
        detail = [
            {"at": list(e["loc"]), "problem": e["msg"]} for e in error.errors(include_input=False)[:MOST_PROBLEMS]
        ]
        return {"error": "invalid feedback request", "detail": detail}
    why = "the body is nested too deeply" if isinstance(error, RecursionError) else "the body is not valid JSON"
    return {"error": f"invalid feedback request: {why}"}


class Endpoint:
    """The feedback endpoint of one service."""

    def __init__(self, service: Recommender) -> None:
        self.service = service
        self.events = Events(seconds=WRITE_SECONDS)
        self.writer = Writer(self.events)
        per_second = float(os.environ.get("LONGTAIL_FEEDBACK_RATE") or EVENTS_PER_SECOND)
        self.limit = RateLimit(per_second, BURST * per_second / EVENTS_PER_SECOND)
        self.recent = service.recent = Recent(self.events, service.items.index)
        if self.recent.reader is not None:
            service.ahead = self.recent.ahead
        service.impaired = self.impaired
        self.watch = FeedbackWatch(service.watch.registry, self.writer, self.recent)
        service.watch.more.append(self.watch.collect)

    def impaired(self) -> str | None:
        """Return the present problem of feedback, for /readyz; None if there is none."""
        if (reason := self.writer.problem()) is not None:
            return f"events cannot be stored: {reason}"
        if (reason := self.recent.problem()) is not None:
            return f"new events cannot be read: {reason}"
        return None

    async def post(self, request: Request) -> JSONResponse:
        try:
            parsed = parse(await request.body())
        except (ValueError, RecursionError) as error:
            return JSONResponse(invalid(error), 400)
        client = request.client.host if request.client else ""
        if seconds := self.limit.wait(client, len(parsed)):
            return later(429, seconds, MANY)
        kinds = [event.kind for event in parsed]
        try:
            future = self.writer.submit([event.event() for event in parsed])
            outcomes = await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE_SECONDS)
        except (BusyError, DownError, SQLAlchemyError, OSError) as error:
            self.watch.refused(kinds)
            return later(503, error.seconds if isinstance(error, DownError) else 1, UNAVAILABLE)
        self.watch.acknowledged(outcomes, kinds)
        return self.acknowledge(parsed, outcomes)

    def acknowledge(self, events: list[FeedbackEvent], outcomes: list[Outcome]) -> JSONResponse:
        conflicts = [event.event_id for event, outcome in zip(events, outcomes, strict=True) if outcome == "conflict"]
        unknown = dict.fromkeys(e.item_id for e in events if e.item_id not in self.service.items.index)
        answer = {
            "model": self.service.tag,
            "stored": outcomes.count("stored"),
            "duplicates": outcomes.count("duplicate"),
            "unknown_items": list(unknown),  # stored: they may be newer than the model
        }
        if not conflicts:
            return JSONResponse(answer)
        return JSONResponse({"error": CONFLICT, "conflicts": conflicts, **answer}, 409)


CONFLICT = "these event ids are already stored with different content; the other events of the request are stored"
MANY = "too many events from this address"
UNAVAILABLE = (
    "the feedback store is overloaded or down; no event was acknowledged; repeat the request after the seconds in "
    "Retry-After"
)


def later(status: int, seconds: float, error: str) -> JSONResponse:
    return JSONResponse({"error": error}, status, {"Retry-After": str(math.ceil(seconds))})


class Acknowledgement(Strict):
    model: Model
    stored: int
    duplicates: int
    unknown_items: Annotated[list[str], Field(description="their events are stored: they may be newer than the model")]


class Conflict(Acknowledgement):
    error: str
    conflicts: Annotated[list[str], Field(description="event ids that are already stored with different content")]


class Body(RootModel[FeedbackEvent | Feedback]):
    """One event, or a list of events."""


PATHS: dict[str, Any] = {  # of the OpenAPI document
    PATH: {
        "post": {
            "summary": "Report events: impressions, clicks, likes, purchases; each is stored once.",
            "requestBody": taking(Body),
            "responses": {
                "200": answering("The events are stored durably", Acknowledgement),
                "409": answering(
                    "Some event ids are stored with different content; the others are stored",
                    Conflict,
                    {
                        "error": CONFLICT,
                        "conflicts": ["example-1"],
                        "model": "longtail:caa4269246d0",
                        "stored": 0,
                        "duplicates": 0,
                        "unknown_items": [],
                    },
                ),
                "429": refusal("Too many events from this address", MANY) | {"headers": RETRY},
                "503": refusal("The store cannot be written; no event was acknowledged; send all again", UNAVAILABLE)
                | {"headers": RETRY},
            },
        }
    }
}


def routes(service: Recommender) -> list[BaseRoute]:
    """Return the route of a service, and let its lists use new events from now on."""
    return [Route(PATH, Endpoint(service).post, methods=["POST"])]
