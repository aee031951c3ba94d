"""The endpoints: functions from a validated request to the bytes of its answer, without BentoML's own handling.

An item's JSON is built once and cached; an answer joins these pieces with the scores. By `make bench-parts`, orjson
takes 0.95, 1.1 and 1.1 times as long for lists of 10, 100 and 1,000 cached items (5 µs, 33 µs and 0.33 ms here), and
the json module 4 to 5 times as long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from bento.api.schemas import (
    Answer,
    Answers,
    Explanation,
    ForItems,
    ForText,
    ForUser,
    ForUsers,
    ModelInfo,
    SimilarTo,
    TextAnswer,
    Why,
)
from bento.model.recommender import NOTHING, UnknownError
from models.inference.candidates import Floats, Indices

if TYPE_CHECKING:
    from bento.model.recommender import Recommender


@dataclass(frozen=True)
class Endpoint:
    takes: type[BaseModel] | None  # None: no body
    answers: type[BaseModel]  # schema of the JSON that `answer` returns
    answer: Callable[[Recommender, Any], bytes]
    long: bool = False  # answered in a thread, whatever the catalogue's size
    users: Callable[[Any], Sequence[str]] | None = None  # (request) -> users whose history it reads


def recommend(service: Recommender, query: ForUser) -> bytes:
    history = service.history(query.user_id)
    if history is None:
        return framed(service, popular(service, query, "recommend"))
    found = service.recommend_list(
        history, None, history if query.exclude_seen else NOTHING, query.k, tail=query.tail, where=query.where
    )
    return framed(service, b'"fallback": null, "items": ' + listing(service, *found, endpoint="recommend"))


def recommend_batch(service: Recommender, query: ForUsers) -> bytes:
    histories = {user_id: service.history(user_id) for user_id in query.user_ids}
    known = {user_id: history for user_id, history in histories.items() if history is not None}
    seen = [history if query.exclude_seen else NOTHING for history in known.values()]
    lists = service.recommend_lists(list(known.values()), seen, query.k, tail=query.tail, where=query.where)
    of_user = dict(zip(known, lists, strict=True))
    parts = []
    for user_id in query.user_ids:
        if user_id in of_user:
            answer = b'"fallback": null, "items": ' + listing(service, *of_user[user_id], endpoint="recommend_batch")
        else:
            answer = popular(service, query, "recommend_batch")
        parts.append(b'{"user_id": %s, %s}' % (json.dumps(user_id).encode(), answer))
    return framed(service, b'"answers": [%s]' % b", ".join(parts))


def recommend_for_items(service: Recommender, query: ForItems) -> bytes:
    history, weights = service.find(query.item_ids), weights_of(query)
    found = service.recommend_list(history, weights, history, query.k, tail=query.tail, where=query.where)
    return framed(service, b'"fallback": null, "items": ' + listing(service, *found, endpoint="recommend_for_items"))


def recommend_for_text(service: Recommender, query: ForText) -> bytes:
    like, weights = service.like(query.text)
    found = service.recommend_list(like, weights, NOTHING, query.k, tail=query.tail, where=query.where)
    items = listing(service, *found, endpoint="recommend_for_text")
    return framed(service, b'"like": %s, "items": %s' % (cards(service, like, weights), items))


def similar_items(service: Recommender, query: SimilarTo) -> bytes:
    found = service.similar(int(service.find([query.item_id])[0]), query.k)
    return framed(service, b'"fallback": null, "items": ' + listing(service, *found, endpoint="similar_items"))


def explain(service: Recommender, query: Why) -> bytes:
    """Return the score of an item as a sum; raises UnknownError for a user without a history."""
    item = int(service.find([query.item_id])[0])
    if query.user_id is None:
        history = service.find(query.item_ids or [])
    elif (found := service.history(query.user_id)) is None:
        raise UnknownError(f"{service.tag} has no history of this user; send item_ids instead")
    else:
        history = found
    why = service.reasons(history, weights_of(query), item)
    of_history = float(why.history.sum()) + why.baseline
    sizes = float(np.abs(why.history).sum()) + abs(why.baseline) + abs(why.cold)
    names = service.items
    body = {
        "model": service.tag,
        "item": {
            "item_id": names.item_id[item],
            "title": names.title[item],
            "segment": names.segment[item],
            "popularity": int(names.popularity[item]),
            "score": why.score,
        },
        "parts": [
            {"item_id": names.item_id[i], "title": names.title[i]} | part(contribution, sizes)
            for contribution, i in sorted(zip(why.history.tolist(), history.tolist(), strict=True), reverse=True)
        ],
        "baseline": part(why.baseline, sizes),
        "cold": part(why.cold, sizes),
        "text": None if why.text is None else part(why.text, abs(of_history), bound=False),
        "popularity": {"users": int(names.popularity[item]), "decile": int(names.decile[item])},
    }
    return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def model_info(service: Recommender, query: object = None) -> bytes:
    release, items = service.release, service.items
    about = {key: release[key] for key in ("verdict", "reason", "digests", "files", "tail", "figures", "search")}
    body = about | {
        "model": service.tag,
        "version": service.version,
        "reranking": {"method": service.how.method, "strength": service.how.strength},
        "texts": texts(release["encoder"]),
        "columns": {name: len(column.values) for name, column in items.columns.items()},
        "n_items": len(items.item_id),
        "n_tail": int(service.how.is_tail.sum()) if service.factors.rerank else sum(s != "head" for s in items.segment),
        "n_users": len(service.histories.user_id),
    }
    return json.dumps(body, ensure_ascii=False).encode()


def texts(encoder: dict[str, Any]) -> str:
    if encoder.get("form") == "static":
        return f"answered approximately: {encoder['overlap@10']:.0%} of nearest items are those of the full encoder"
    return str(encoder.get("reason", "answered"))


def part(contribution: float, of: float, *, bound: bool = True) -> dict[str, float]:
    """Return a contribution and its share, 0 if the total is 0."""
    share = contribution / of if of else 0.0
    return {"contribution": contribution, "share": max(-1.0, min(1.0, share)) if bound else share}


def popular(service: Recommender, query: ForUser | ForUsers, endpoint: str) -> bytes:
    """Answer for an unknown user: the most popular items, with their numbers of training users as scores."""
    top = service.most_popular(query.k, query.where)
    service.watch.served(endpoint, top, "unknown_user")
    return b'"fallback": "unknown_user", "items": ' + cards(service, top, service.items.popularity[top])


def listing(service: Recommender, items: Indices, scores: Floats, *, endpoint: str) -> bytes:
    service.watch.served(endpoint, items, None)
    return cards(service, items, scores)


def cards(service: Recommender, items: Indices, scores: Any) -> bytes:
    """Return the JSON of items (k,) with their scores."""
    card = service.items.card
    return b"[%s]" % b", ".join(
        [b"%s%.8g}" % (card(i), score) for i, score in zip(items.tolist(), scores.tolist(), strict=True)]
    )


def framed(service: Recommender, body: bytes) -> bytes:
    return b'{"model": "%s", %s}' % (service.tag.encode(), body)


def weights_of(query: ForItems | Why) -> Floats | None:
    return None if query.weights is None else np.asarray(query.weights, np.float32)


ENDPOINTS = {  # in the order of use
    "recommend": Endpoint(ForUser, Answer, recommend, users=lambda query: [query.user_id]),
    "recommend_for_items": Endpoint(ForItems, Answer, recommend_for_items),
    "recommend_for_text": Endpoint(ForText, TextAnswer, recommend_for_text, long=True),
    "recommend_batch": Endpoint(ForUsers, Answers, recommend_batch, long=True, users=lambda query: query.user_ids),
    "similar_items": Endpoint(SimilarTo, Answer, similar_items),
    "explain": Endpoint(
        Why, Explanation, explain, long=True, users=lambda query: [] if query.user_id is None else [query.user_id]
    ),
    "model_info": Endpoint(None, ModelInfo, model_info),
}
