"""The built Bento, asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from pipelines.artifacts import outputs
from pipelines.bentos.smoke import call, post
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
    bento = outputs.read_json(packaged / "bento.json")
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


def item_ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_batch_answers_each_user_as_if_asked_alone(url: str, tag: str) -> None:
    asked = [*USER_IDS, "nobody", USER_IDS[0]]
    answer = post(url, "recommend_batch", {"user_ids": asked, "k": 7, "tail": 0.3})
    assert answer["model"] == tag
    assert [each["user_id"] for each in answer["answers"]] == asked
    for each in answer["answers"]:
        alone = post(url, "recommend", {"user_id": each["user_id"], "k": 7, "tail": 0.3})
        assert each["fallback"] == alone["fallback"]
        assert same(served(each), served(alone))


def test_without_a_wish_for_the_tail_a_list_is_in_order_of_its_scores(url: str) -> None:
    history = judged.history(0)
    plain = post(url, "recommend", {"user_id": USER_IDS[0], "k": 12, "tail": 0.0})
    query = FACTORS.queries(FACTORS.fold_in([np.array(history)]))[0]
    scores = FACTORS.item_vectors() @ query
    best = [i for i in np.argsort(-scores, kind="stable").tolist() if i not in history]
    assert item_ids(plain) == [ITEM_IDS[i] for i in best[:12]]


def test_the_more_of_the_tail_is_wanted_the_less_popular_a_list_is(url: str) -> None:
    means = []
    for tail in (0.0, 0.25, 0.5, 0.75, 1.0):
        items = post(url, "recommend", {"user_id": USER_IDS[1], "k": 10, "tail": tail})["items"]
        means.append(np.mean([np.log1p(item["popularity"]) for item in items]))
    assert all(after <= before + 1e-6 for before, after in pairwise(means))
    assert means[-1] < means[0]


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"genre": "rhyme"}, lambda i: i % 3 in (0, 2)),
        ({"genre": "tale|rhyme"}, lambda i: i % 3 == 0),
        ({"genre": ["tale", "unheard of"], "year": 2001}, lambda i: i % 3 in (0, 1) and i % 2 == 1),
        ({"segment": ["tail", "cold"]}, lambda i: i not in HEAD),
        ({"genre": "unheard of"}, lambda i: False),
    ],
)
def test_a_filter_leaves_what_it_names(url: str, where: dict[str, Any], holds: Callable[[int], bool]) -> None:
    seen = judged.history(2)
    expected = {ITEM_IDS[i] for i in range(N_ITEMS) if holds(i)}
    body = {"user_id": USER_IDS[2], "k": 100, "where": where}
    assert set(item_ids(post(url, "recommend", body))) == expected - {ITEM_IDS[i] for i in seen}
    assert set(item_ids(post(url, "recommend", {**body, "user_id": "nobody"}))) == expected


def test_a_filter_by_a_column_that_there_is_not_names_those_that_there_are(url: str) -> None:
    response = call(url, "recommend", {"user_id": USER_IDS[0], "where": {"colour": "red"}})
    assert response.status_code == 400
    assert "no column 'colour'" in response.json()["error"]
    assert "segment, genre, year" in response.json()["error"]


def test_a_wish_in_words_is_answered_by_what_is_described_like_it(url: str) -> None:
    answer = post(url, "recommend_for_text", {"text": judged.TEXTS[9], "k": 8})
    like = answer["like"]
    assert like[0]["item_id"] in {ITEM_IDS[i] for i, text in enumerate(judged.TEXTS) if text == judged.TEXTS[9]}
    assert like[0]["score"] == pytest.approx(1, abs=1e-3)
    assert [item["score"] for item in like] == sorted([item["score"] for item in like], reverse=True)
    history = [ITEM_IDS.index(item["item_id"]) for item in like]
    weights = [item["score"] for item in like]
    assert same(served(answer), ranking(history, weights=weights, seen=[])[:8])


def test_a_filtered_wish_leaves_what_the_filter_names(url: str) -> None:
    answer = post(url, "recommend_for_text", {"text": "quiet night", "k": 100, "where": {"segment": "cold"}})
    assert set(item_ids(answer)) == {ITEM_IDS[i] for i in COLD}


@pytest.mark.parametrize("text", [" ", "\t\n", "\u3000"])
def test_a_wish_without_words_is_told_so(url: str, text: str) -> None:
    response = call(url, "recommend_for_text", {"text": text})
    assert response.status_code == 400
    assert "contains no words" in response.json()["error"]


@pytest.mark.parametrize("text", ["x" * 10_000, "quiet " * 1600, "\u202eyks 🌌 \x00\x07", "日本語の本", "a\u0301" * 99])
def test_an_odd_wish_is_answered(url: str, text: str) -> None:
    assert len(post(url, "recommend_for_text", {"text": text, "k": 5})["items"]) == 5


@pytest.mark.parametrize("weights", [None, [2.0, 0.5, 1.0]])
def test_an_explanation_adds_up_to_the_score_of_the_list(url: str, weights: list[float] | None) -> None:
    basket = {"item_ids": [ITEM_IDS[i] for i in (30, 2, 11)]} | ({} if weights is None else {"weights": weights})
    for item in post(url, "recommend_for_items", {**basket, "k": 6})["items"]:
        why = post(url, "explain", {**basket, "item_id": item["item_id"]})
        parts = why["parts"]
        assert {part["item_id"] for part in parts} == set(basket["item_ids"])
        assert [part["contribution"] for part in parts] == sorted([p["contribution"] for p in parts], reverse=True)
        total = sum(part["contribution"] for part in parts) + why["baseline"]["contribution"]
        assert total + why["cold"]["contribution"] == pytest.approx(why["item"]["score"], abs=1e-5)
        assert why["item"]["score"] == pytest.approx(item["score"], abs=1e-4)
        assert sum(abs(part["share"]) for part in parts) == pytest.approx(1, abs=1e-6)
        assert {key: why["item"][key] for key in ("title", "segment", "popularity")} == {
            key: item[key] for key in ("title", "segment", "popularity")
        }


def test_an_explanation_says_how_popular_an_item_is_and_what_its_text_accounts_for(url: str) -> None:
    first, last = (post(url, "explain", {"user_id": USER_IDS[0], "item_id": ITEM_IDS[i]}) for i in (0, N_ITEMS - 1))
    assert first["popularity"] == {"users": N_ITEMS - 4, "decile": 1}
    assert last["popularity"] == {"users": 0, "decile": 10}
    history = np.array(judged.history(0))
    anchor = FACTORS.anchors(judged.embeddings()[:1], apart_from=np.array([0]))[0]
    assert first["text"]["contribution"] == pytest.approx(float(FACTORS.fold_in([history])[0] @ anchor), rel=1e-2)


def test_nobody_s_history_explains_nothing(url: str) -> None:
    response = call(url, "explain", {"user_id": "nobody", "item_id": ITEM_IDS[0]})
    assert response.status_code == 404
    assert "has no history of this user" in response.json()["error"]
    assert call(url, "explain", {"item_id": ITEM_IDS[0]}).status_code == 400
    both = {"user_id": "u1", "item_ids": [ITEM_IDS[1]], "item_id": ITEM_IDS[0]}
    assert call(url, "explain", both).status_code == 400


def test_errors_are_json_that_repeats_nothing_of_what_was_sent(url: str) -> None:
    response = call(url, "recommend", {"user_id": "u1", "k": "<script>secret</script>"})
    assert response.headers["Content-Type"] == "application/json"
    assert set(response.json()) == {"error", "detail"}
    assert "secret" not in response.text
    assert requests.get(f"{url}/recommend", timeout=10).status_code == 405
    assert (
        requests.post(
            f"{url}/recommend", data="user_id=u1", headers={"Content-Type": "text/plain"}, timeout=9
        ).status_code
        == 415
    )
