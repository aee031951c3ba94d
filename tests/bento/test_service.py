"""The built Bento, asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from pipelines import _artifacts as artifacts
from pipelines._smoke import call, post
from tests import judged
from tests.judged import COLD, HEAD, ITEM_IDS, N_ITEMS, USER_IDS

pytestmark = pytest.mark.slow
FACTORS = judged.factors()


def ranking(history: list[int], *, weights: list[float] | None = None, seen: list[int]) -> list[tuple[str, float]]:
    """All unseen items with their scores, from the definition: inner product of fold-in and item vector.

    They stand in order of the score, but that two of every five places favour the tail, most what is shown least.
    """
    w = None if weights is None else [np.array(weights, np.float32)]
    query = FACTORS.queries(FACTORS.fold_in([np.array(history)], w))[0]
    scores = {i: float(query @ FACTORS.item_vectors()[i]) for i in range(N_ITEMS) if i not in seen}
    assert FACTORS.rerank is not None
    unit = max(scores.values()) - min(scores.values())  # of all, since there are less than a hundred
    bonus = {i: 0.5 * unit / (1 + FACTORS.rerank.against[i]) * (i not in HEAD) for i in scores}
    shown: list[int] = []
    while left := scores.keys() - shown:
        slot = len(shown) % 5 >= 3
        shown.append(max(left, key=lambda i: scores[i] + (bonus[i] if slot else 0)))
    return [(ITEM_IDS[i], scores[i]) for i in shown]


def served(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(item["item_id"], item["score"]) for item in answer["items"]]


def same(actual: list[tuple[str, float]], expected: list[tuple[str, float]]) -> bool:
    (ids, scores), (expected_ids, expected_scores) = zip(*actual, strict=True), zip(*expected, strict=True)
    return ids == expected_ids and np.allclose(scores, expected_scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("user", range(len(USER_IDS)))
def test_a_known_user_gets_the_ranking_of_the_judged_model(url: str, tag: str, user: int) -> None:
    history = judged.history(user)
    answer = post(url, "recommend", {"user_id": USER_IDS[user], "k": 7})
    assert answer["model"] == tag
    assert answer["fallback"] is None
    assert same(served(answer), ranking(history, seen=history)[:7])


def test_seen_items_come_back_only_when_asked_for(url: str) -> None:
    history = judged.history(0)
    without = post(url, "recommend", {"user_id": USER_IDS[0], "k": 100})
    assert not {ITEM_IDS[i] for i in history} & {item["item_id"] for item in without["items"]}
    assert len(without["items"]) == N_ITEMS - len(history)  # k exceeds the catalogue: everything unseen
    with_seen = post(url, "recommend", {"user_id": USER_IDS[0], "k": 100, "exclude_seen": False})
    assert same(served(with_seen), ranking(history, seen=[]))


def test_an_unknown_user_gets_the_most_popular_items_marked_as_a_fallback(url: str) -> None:
    answer = post(url, "recommend", {"user_id": "nobody", "k": 3})
    assert answer["fallback"] == "unknown_user"
    assert [item["item_id"] for item in answer["items"]] == ITEM_IDS[:3]  # popularity falls with the index


@pytest.mark.parametrize("weights", [None, [1.0, 0.25, 8.0]])
def test_a_list_of_items_is_folded_in_with_its_weights(url: str, weights: list[float] | None) -> None:
    history = [30, 2, 38]
    body = {"item_ids": [ITEM_IDS[i] for i in history], "k": 5} | ({} if weights is None else {"weights": weights})
    answer = post(url, "recommend_for_items", body)
    assert same(served(answer), ranking(history, weights=weights, seen=history)[:5])


def test_similar_items_are_those_of_largest_cosine(url: str) -> None:
    factors = FACTORS.item_factors
    cosine = [float(f @ factors[5] / np.linalg.norm(f) / np.linalg.norm(factors[5])) for f in factors]
    expected = sorted(((ITEM_IDS[i], c) for i, c in enumerate(cosine) if i != 5), key=lambda pair: -pair[1])
    assert same(served(post(url, "similar_items", {"item_id": ITEM_IDS[5], "k": 4})), expected[:4])


def test_every_item_says_its_title_and_whether_it_is_head_tail_or_cold(url: str) -> None:
    answer = post(url, "recommend", {"user_id": USER_IDS[0], "k": 100, "exclude_seen": False})
    for item in answer["items"]:
        i = ITEM_IDS.index(item["item_id"])
        assert item["title"] == judged.title(i)
        assert item["segment"] == ("head" if i in HEAD else "cold" if i in COLD else "tail")


def test_unknown_items_are_named_in_a_404(url: str) -> None:
    response = call(url, "recommend_for_items", {"item_ids": [ITEM_IDS[0], "missing", "Missing"]})
    assert response.status_code == 404
    assert "2 of 3 items" in response.text
    assert "'missing', 'Missing'" in response.text
    assert call(url, "similar_items", {"item_id": "missing"}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"user_id": 7}',
        '{"user_id": null}',
        '{"user_id": ""}',
        json.dumps({"user_id": "u" * 257}),
        '{"user_id": "u1", "k": 0}',
        '{"user_id": "u1", "k": 101}',
        '{"user_id": "u1", "k": "5"}',
        '{"user_id": "u1", "k": true}',
        '{"user_id": "u1", "k": 5.0}',
        '{"user_id": "u1", "k": NaN}',
        '{"user_id": "u1", "exclude_seen": 1}',
        '{"user_id": "u1", "kk": 5}',
    ],
)
def test_a_malformed_user_request_is_a_400(url: str, body: str) -> None:
    response = requests.post(f"{url}/recommend", data=body, headers={"Content-Type": "application/json"}, timeout=10)
    assert response.status_code == 400, response.text


@pytest.mark.parametrize(
    "body",
    [
        '{"item_ids": []}',
        '{"item_ids": "i001"}',
        '{"item_ids": ["i001", "i001"]}',
        json.dumps({"item_ids": [f"i{i}" for i in range(1001)]}),
        '{"item_ids": ["i001"], "weights": [NaN]}',
        '{"item_ids": ["i001"], "weights": [Infinity]}',
        '{"item_ids": ["i001"], "weights": [1e999]}',
        '{"item_ids": ["i001"], "weights": [0]}',
        '{"item_ids": ["i001"], "weights": [-1]}',
        '{"item_ids": ["i001"], "weights": ["1"]}',
        '{"item_ids": ["i001"], "weights": [1, 1]}',
    ],
)
def test_a_malformed_list_of_items_is_a_400(url: str, body: str) -> None:
    response = requests.post(
        f"{url}/recommend_for_items", data=body, headers={"Content-Type": "application/json"}, timeout=10
    )
    assert response.status_code == 400, response.text


def test_a_long_body_is_refused_whether_its_length_is_declared_or_not(url: str) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 2**16

    for body in (b" " * 2**21, chunks()):
        response = requests.post(f"{url}/recommend", data=body, timeout=10)
        assert response.status_code == 413
        assert "1048576 bytes" in response.text


def test_a_pickled_body_is_refused(url: str) -> None:
    headers = {"Content-Type": "application/vnd.bentoml+pickle"}
    assert requests.post(f"{url}/recommend", data=b"\x80\x04N.", headers=headers, timeout=10).status_code == 415


def test_model_info_leads_back_to_what_was_judged(url: str, tag: str, packaged: Path) -> None:
    info = call(url, "model_info", {}).json()
    bento = artifacts.read_json(packaged / "bento.json")
    assert info["model"] == tag
    assert info["verdict"] == "PROMOTE"
    assert info["digests"] == bento["digests"]
    assert info["files"]["packed/model.safetensors"] == bento["digests"]["model"]
    assert (info["n_items"], info["n_tail"], info["n_users"]) == (N_ITEMS, N_ITEMS - len(HEAD), len(USER_IDS))
    assert "80%" in info["tail"]


def test_liveness_and_readiness_answer(url: str) -> None:
    assert [requests.get(f"{url}/{path}", timeout=10).status_code for path in ("livez", "readyz")] == [200, 200]


@pytest.mark.parametrize("path", ["docs", "docs.json", "schema.json", "livez", "readyz", "healthz"])
def test_what_bentoml_answers_stays_beside_our_own_routes(url: str, path: str) -> None:
    assert requests.get(f"{url}/{path}", timeout=10).status_code == 200
