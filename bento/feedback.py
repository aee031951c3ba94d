"""POST /feedback: what users saw, clicked, liked and bought, acknowledged once it is durable and stored once."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, RootModel, ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from bento.events import Event, Events, Kind, Outcome
from bento.rate_limit import RateLimit
from bento.recent import Recent
from bento.schemas import RETRY, Model, Strict, answering, taking
from models import event_bounds as bounds

if TYPE_CHECKING:
    from bento.recommender import Recommender

MOST_EVENTS = 1000  # of one request
MOST_WAITING = 20_000  # events of all requests that wait for the disk
EVENTS_PER_SECOND, BURST = 1000.0, 5000.0  # of one client and worker; LONGTAIL_FEEDBACK_RATE sets the first
MOST_PROBLEMS = 100  # that an answer names

# what ingest refuses would come back as a malformed row of an export
Id = Annotated[str, Field(min_length=1, max_length=bounds.MAX_ID, pattern=bounds.ID)]


def not_in_future(timestamp: float) -> float:
    if timestamp > time.time() + bounds.CLOCK_SKEW:
        raise ValueError("timestamp is more than a day in the future; send seconds since 1970, in UTC")
    return timestamp


Timestamp = Annotated[
    float,
    Field(ge=bounds.FIRST, lt=bounds.LAST, description="seconds since 1970, at most a day in the future"),
    AfterValidator(not_in_future),
]


class FeedbackEvent(Strict):
    """One event; a retry repeats its `event_id` and everything else."""

    event_id: Id
    user_id: Id
    item_id: Id
    kind: Kind
    value: Annotated[float, Field(ge=bounds.LEAST_VALUE, le=bounds.LARGEST_VALUE)] | None = None
    timestamp: Timestamp | None = None

    def event(self) -> Event:
        return Event(**self.model_dump())


class Feedback(Strict):
    events: Annotated[list[FeedbackEvent], Field(min_length=1, max_length=MOST_EVENTS)]


class BusyError(Exception):
    """More events wait for the disk than may."""


class Writer:
    """Writes what requests hand in while the last transaction was under way, in one: a single sync for many clients."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self._waiting: list[tuple[list[Event], Future[list[Outcome]]]] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, batch: list[Event]) -> Future[list[Outcome]]:
        """The outcomes of a batch, once they are durable; raises BusyError."""
        future: Future[list[Outcome]] = Future()
        with self._changed:
            if sum(len(waiting) for waiting, _ in self._waiting) + len(batch) > MOST_WAITING:
                raise BusyError
            self._waiting.append((batch, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="feedback", daemon=True)
                self._thread.start()
            self._changed.notify()
        return future

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                taken, self._waiting = self._waiting, []
            self._write(taken)

    def _write(self, taken: Sequence[tuple[list[Event], Future[list[Outcome]]]]) -> None:
        try:
            outcomes = self.events.add([event for batch, _ in taken for event in batch])
        except BaseException as error:  # whatever it is, somebody waits for an answer
            for _, future in taken:
                future.set_exception(error)
            return
        start = 0
        for batch, future in taken:
            future.set_result(outcomes[start : start + len(batch)])
            start += len(batch)


def parse(body: bytes) -> list[FeedbackEvent]:
    """The events of a body, which is one event or a list of `events`; raises ValidationError or ValueError."""
    document = json.loads(body)
    if isinstance(document, dict) and "events" not in document:
        return [FeedbackEvent.model_validate_json(body)]
    return Feedback.model_validate_json(body).events


def invalid(error: ValueError | RecursionError) -> dict[str, Any]:
    """Return the error of a body, without repeating the body."""
    if isinstance(error, ValidationError):
        detail = [
            {"at": list(e["loc"]), "problem": e["msg"]} for e in error.errors(include_input=False)[:MOST_PROBLEMS]
        ]
        return {"error": "invalid feedback request", "detail": detail}
    why = "the body is nested too deeply" if isinstance(error, RecursionError) else "the body is not valid JSON"
    return {"error": f"invalid feedback request: {why}"}


class Endpoint:
    """Feedback of one service."""

    def __init__(self, service: Recommender) -> None:
        self.service = service
        self.events = Events()
        self.writer = Writer(self.events)
        per_second = float(os.environ.get("LONGTAIL_FEEDBACK_RATE") or EVENTS_PER_SECOND)
        self.limit = RateLimit(per_second, BURST * per_second / EVENTS_PER_SECOND)
        service.recent = Recent(self.events, service.items.index)

    async def post(self, request: Request) -> JSONResponse:
        try:
            parsed = parse(await request.body())
        except (ValueError, RecursionError) as error:
            return JSONResponse(invalid(error), 400)
        client = request.client.host if request.client else ""
        if seconds := self.limit.wait(client, len(parsed)):
            return later(429, seconds, "too many events from this address")
        try:
            future = self.writer.submit([event.event() for event in parsed])
            outcomes = await asyncio.wrap_future(future)
        except (BusyError, SQLAlchemyError, OSError):
            return later(503, 1, "the feedback store cannot keep up or is not there; no event was acknowledged")
        return self.acknowledge(parsed, outcomes)

    def acknowledge(self, events: list[FeedbackEvent], outcomes: list[Outcome]) -> JSONResponse:
        conflicts = [event.event_id for event, outcome in zip(events, outcomes, strict=True) if outcome == "conflict"]
        unknown = dict.fromkeys(e.item_id for e in events if e.item_id not in self.service.items.index)
        answer = {
            "model": self.service.tag,
            "stored": outcomes.count("stored"),
            "duplicates": outcomes.count("duplicate"),
            "unknown_items": list(unknown),  # kept, since they may be newer than the model
        }
        if not conflicts:
            return JSONResponse(answer)
        error = "these ids are stored with another content; the other events of the request are stored"
        return JSONResponse({"error": error, "conflicts": conflicts, **answer}, 409)


def later(status: int, seconds: float, error: str) -> JSONResponse:
    return JSONResponse({"error": error}, status, {"Retry-After": str(math.ceil(seconds))})


class Acknowledgement(Strict):
    model: Model
    stored: int
    duplicates: int
    unknown_items: Annotated[list[str], Field(description="kept, since they may be newer than the model")]


class Conflict(Acknowledgement):
    error: str
    conflicts: Annotated[list[str], Field(description="event ids that are stored with another content")]


class Body(RootModel[FeedbackEvent | Feedback]):
    """One event, or a list of events."""


PATHS: dict[str, Any] = {  # of the OpenAPI document
    "/feedback": {
        "post": {
            "summary": "Report events: impressions, clicks, likes, purchases; each is stored once.",
            "requestBody": taking(
                Body, {"event_id": "7f3a-1", "user_id": "00001", "item_id": "b00039", "kind": "click"}
            ),
            "responses": {
                "200": answering("The events are durable", Acknowledgement),
                "409": answering("Some ids are stored with another content; the other events are stored", Conflict),
                "429": answering("Too many events from this address") | {"headers": RETRY},
                "503": answering("The store cannot be written; no event was acknowledged") | {"headers": RETRY},
            },
        }
    }
}


def routes(service: Recommender) -> list[BaseRoute]:
    """The route of a service, which knows of its users' new events from now on."""
    return [Route("/feedback", Endpoint(service).post, methods=["POST"])]
