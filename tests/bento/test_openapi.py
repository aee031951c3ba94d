"""What is documented against what is answered, by requests that nobody would think of."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from bento.hot import ENDPOINTS
from pipelines._smoke import call
from tests.judged import ITEM_IDS, USER_IDS

pytestmark = pytest.mark.slow
EXAMPLES = 25  # of each operation
SLOW = list(HealthCheck)


def test_whatever_is_sent_is_answered_as_documented(url: str) -> None:
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    document = schemathesis.openapi.from_url(f"{url}/docs.json")
    operations = [result.ok() for result in document.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) > len(ENDPOINTS)
    asked = 0
    for operation in operations:

        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=SLOW)
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(checks=checks, timeout=30)

        ask()
    print(f"{asked} requests to {len(operations)} operations were answered as documented")


DEEP = b"[" * 50_000 + b"]" * 50_000
HOSTILE = [
    b"", b"\x00", b"\xff\xfe", b"null", b"[]", b"{", b'"a"', b"NaN", DEEP, b'{"user_id": ' + DEEP + b"}",
    b'{"user_id": "\\ud800"}', b'{"user_id": "\xc3\x28"}', b'{"user_id": "u1", "user_id": "u2"}',
    b'{"user_id": "u1", "k": 1e400}', b'{"user_id": "u1", "k": 99999999999999999999999}', b'{"user_id": "u1", "k": -0}',
    b'{"user_id": "u1", "tail": NaN}', b'{"user_id": "u1", "tail": 1e-400}', b'{"user_id": "u1", "tail": 2}',
    b'{"user_id": "u1", "where": {"segment": null}}', b'{"user_id": "u1", "where": {"segment": []}}',
    b'{"user_id": "u1", "where": {"": ""}}', b'{"user_id": "u1", "where": {"segment": {"a": 1}}}',
    b'{"user_id": "u1", "where": {"__class__": "head"}}', b'{"user_id": "../../etc/passwd"}',
    b'{"user_id": "file:///etc/passwd"}', b'{"user_id": "\'; drop table users; --"}', b'{"__proto__": {}}',
    json.dumps({"user_id": "u" * 256}).encode(), json.dumps({"user_ids": ["a"] * 1001}).encode(),
    json.dumps({"item_ids": ["i001"], "weights": [1e-320]}).encode(), json.dumps({"text": "\x00" * 10_000}).encode(),
]  # fmt: skip


@pytest.mark.parametrize(
    "endpoint",
    [
        "recommend",
        "recommend_batch",
        "recommend_for_items",
        "recommend_for_text",
        "similar_items",
        "explain",
        "model_info",
    ],
)
def test_hostile_bodies_never_break_an_endpoint(url: str, endpoint: str) -> None:
    with requests.Session() as session:
        for body in HOSTILE:
            for kind in ("application/json", "text/html", "application/vnd.bentoml+pickle", "multipart/form-data"):
                answer = session.post(f"{url}/{endpoint}", data=body, headers={"Content-Type": kind}, timeout=30)
                assert answer.status_code < 500, (body[:80], answer.text)
                assert answer.headers["Content-Type"] == "application/json"
                assert answer.json()
    assert call(url, "explain", {"user_id": USER_IDS[0], "item_id": ITEM_IDS[3]}).status_code == 200


@pytest.mark.parametrize(
    "path", ["//", "/%00", "/../../etc/passwd", "/recommend/", "/RECOMMEND", "/explorer/..%2f..%2fservice.py"]
)
def test_odd_paths_lead_nowhere(url: str, path: str) -> None:
    assert requests.get(f"{url}{path}", timeout=10).status_code < 500
