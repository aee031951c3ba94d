"""Requests that this model answers, with their answers, for the OpenAPI document: made of its own items and users."""

from __future__ import annotations

import json
from collections import Counter
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bento.api.endpoints import ENDPOINTS
from bento.model.recommender import RefusedError, UnknownError
from bento.monitoring.telemetry import EXPLORES

if TYPE_CHECKING:
    from bento.model.recommender import Recommender

Bodies = dict[str, dict[str, Any]]  # title of an example: body of the request
K = 3
LISTED = 3  # entries of a long list or map that an answer shows
NOBODY = "somebody"
TEXT = "a quiet book about the night sky"


@dataclass(frozen=True)
class Examples:
    """Examples by the name of an endpoint."""

    bodies: dict[str, Bodies]  # requests by POST
    queries: dict[str, dict[str, str]]  # parameters of requests by GET
    answers: dict[str, Any]  # to the first request; absent if this model cannot answer it


def of(service: Recommender) -> Examples:
    """Return the examples; to be called before feedback is read, which could make the start wait."""
    bodies = requests_of(service)
    context = copy_context()
    context.run(EXPLORES.set, True)  # these lists are not exposure
    answers: dict[str, Any] = {}
    for name, titled in bodies.items():
        if name in ENDPOINTS and (found := context.run(answer, service, name, next(iter(titled.values())))) is not None:
            answers[name] = found
    answers |= stored(service) | {"model_info": answer(service, "model_info", {})}
    return Examples(bodies, queries_of(service), answers)


def requests_of(service: Recommender) -> dict[str, Bodies]:
    users, items = users_of(service), items_of(service)
    liked, other, segment = items[:2], recommended(service, users[0], items), most_frequent_segment(service)
    weights = [1.0, 0.5][: len(liked)]
    user, text = {"user_id": users[0], "k": K}, service.items.title[service.items.index[liked[0]]].strip() or TEXT
    event = {"event_id": "example-1", "user_id": "example-visitor", "item_id": liked[0], "kind": "click"}
    found: dict[str, Bodies] = {
        "recommend": {
            "Three items for a user": user,
            "More of the tail": user | {"tail": 1.0},
            "Only one segment": user | {"where": {"segment": segment}},
            "An unknown user": user | {"user_id": "unknown-visitor"},
        },
        "recommend_for_items": {
            "A basket": {"item_ids": liked, "k": K},
            "A basket with weights": {"item_ids": liked, "weights": weights, "k": K},
        },
        "recommend_for_text": {"A text": {"text": text, "k": K}},
        "recommend_batch": {"Several users": {"user_ids": users, "k": K}},
        "similar_items": {"An item": {"item_id": liked[0], "k": K}},
        "explain": {
            "An item and a user": {"user_id": users[0], "item_id": other},
            "An item and a basket": {"item_ids": liked, "item_id": other},
        },
        "lookup": {"Items": {"item_ids": liked}},
        "feedback": {
            "One event": event,
            "Several events": {"events": [event | {"event_id": f"example-{n}", "kind": kind} for n, kind in KINDS]},
        },
    }
    if len(service.histories.user_id) == 0:
        del found["explain"]["An item and a user"]  # it would answer 404
    return found | {
        f"previous/{name}": found[name] for name in ("recommend", "recommend_for_items", "recommend_for_text")
    }


KINDS = ((2, "impression"), (3, "purchase"))


def queries_of(service: Recommender) -> dict[str, dict[str, str]]:
    users, items = users_of(service), items_of(service)
    title = service.items.title[service.items.index[items[0]]]
    return {"items": {"query": title[:20]}, "users": {"query": users[0][:2]}, "history": {"user_id": users[0]}}


def stored(service: Recommender) -> dict[str, Any]:
    """Return answers that are looked up, without a search."""
    users, items = users_of(service), items_of(service)
    history = service.histories.get(users[0])
    shown = [service.items.about(i) for i in ([] if history is None else history[:LISTED].tolist())]
    basket = [service.items.about(service.items.index[item_id]) for item_id in items[:2]]
    return {
        "items": {"items": basket[:1]},
        "users": {"users": users},
        "history": {"user_id": users[0], "n_items": 0 if history is None else len(history), "items": shown},
        "lookup": {"n_items": len(basket), "items": basket},
        "feedback": {"model": service.tag, "stored": 1, "duplicates": 0, "unknown_items": []},
        "previous": {"available": False},
        "columns": {"columns": [segments(service)]},
        "exposure": {
            "model": service.tag,
            "window": service.watch.window.exposure().plain(),
            "gate": service.watch.gate,
        },
    }


def segments(service: Recommender) -> dict[str, Any]:
    counts = Counter(service.items.segment).most_common()
    values = [{"value": name, "items": n} for name, n in counts]
    return {"name": "segment", "n_values": len(values), "values": values}


def users_of(service: Recommender) -> list[str]:
    return list(service.histories.user_id[:2]) or [NOBODY]


def items_of(service: Recommender) -> list[str]:
    """Return items to start from: of the first user's history, else the most popular ones."""
    history = service.histories.get(users_of(service)[0])
    found = service.popular[:2] if history is None or len(history) == 0 else history[:2]
    return [service.items.item_id[i] for i in found.tolist()]


def recommended(service: Recommender, user_id: str, otherwise: list[str]) -> str:
    """Return an item to explain: one that a user has not interacted with."""
    history = service.histories.get(user_id)
    if history is None:
        return otherwise[-1]
    items, _ = service.recommend_list(history, None, history, 1)
    return service.items.item_id[int(items[0])] if len(items) else otherwise[-1]


def most_frequent_segment(service: Recommender) -> str:
    return max(("tail", "head", "cold"), key=service.items.segment.count)


def answer(service: Recommender, name: str, body: dict[str, Any]) -> Any:
    """Return the answer to a request, its long lists and maps cut; None if this model cannot answer it."""
    endpoint = ENDPOINTS[name]
    try:
        query = endpoint.takes and endpoint.takes.model_validate_json(json.dumps(body))
        found: dict[str, Any] = json.loads(endpoint.answer(service, query))
    except (ValueError, UnknownError, RefusedError):
        return None
    return {key: cut(value) for key, value in found.items()}


def cut(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > 2 * LISTED:
        return dict(list(value.items())[:LISTED])
    return value[:LISTED] if isinstance(value, list) else value
