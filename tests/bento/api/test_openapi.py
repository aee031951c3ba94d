"""The OpenAPI document against the answers, to requests that are generated and to ones that are answered in full."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from bento.api.endpoints import ENDPOINTS
from pipelines.bentos.smoke import call
from tests.judged import ITEM_IDS, TEXTS, USER_IDS

pytestmark = pytest.mark.slow
EXAMPLES = 25  # of each operation
SLOW = list(HealthCheck)


def test_whatever_is_sent_is_answered_as_documented(url: str) -> None:
    checks = [
        *(not_a_server_error, status_code_conformance, response_schema_conformance, response_headers_conformance),
        *(content_type_conformance, negative_data_rejection, unsupported_method),
    ]
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


KNOWN: dict[str, dict[str, Any] | None] = {
    "recommend": {"user_id": USER_IDS[0], "k": 5},
    "recommend_batch": {"user_ids": [USER_IDS[0], "nobody"], "k": 5},
    "recommend_for_items": {"item_ids": ITEM_IDS[:3]},
    "recommend_for_text": {"text": TEXTS[9]},
    "similar_items": {"item_id": ITEM_IDS[0]},
    "explain": {"user_id": USER_IDS[0], "item_id": ITEM_IDS[30]},
    "model_info": None,
    "lookup": {"item_ids": ITEM_IDS[:3]},
    "feedback": {"event_id": "documented", "user_id": "documented", "item_id": ITEM_IDS[0], "kind": "click"},
    "items": {"query": "title"},
    "users": {"query": "u"},
    "history": {"user_id": USER_IDS[0]},
    "columns": {},
    "exposure": {},
    "previous": {},
}


class Documented:
    """The document of a server, and its schemas as those that answers are checked with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.document = requests.get(f"{url}/docs.json", timeout=10).json()

    def answer(self, name: str, asked: dict[str, Any] | None) -> requests.Response:
        operation = self.document["paths"][f"/{name}"]
        if "post" not in operation:
            return requests.get(f"{self.url}/{name}", params=asked, timeout=30)
        return requests.post(f"{self.url}/{name}", json=asked, timeout=30)

    def check(self, name: str, answer: requests.Response) -> None:
        """Raise ValidationError where an answer is not as documented, KeyError where its status is not."""
        (operation,) = self.document["paths"][f"/{name}"].values()
        described = operation["responses"][str(answer.status_code)]
        schema = described["content"]["application/json"]["schema"] | {"components": self.document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json())
        required = [header for header, about in described.get("headers", {}).items() if about["required"]]
        assert [header for header in required if header not in answer.headers] == []


@pytest.fixture(scope="module")
def documented(url: str) -> Documented:
    return Documented(url)


def test_every_address_answers_in_full_as_documented(documented: Documented) -> None:
    probes, texts = {"livez", "readyz", "readyz/feedback", "healthz"}, {"metrics"}
    previous = {name for name in (path.strip("/") for path in documented.document["paths"]) if "previous/" in name}
    assert {path.strip("/") for path in documented.document["paths"]} == KNOWN.keys() | probes | texts | previous
    for name, asked in KNOWN.items():
        answer = documented.answer(name, asked)
        assert answer.status_code == 200, (name, answer.text)
        documented.check(name, answer)
    for name in previous:
        documented.check(name, documented.answer(name, KNOWN[name.removeprefix("previous/")]))


def requests_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (method, name, body or query) of each example."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                yield from ((method, path[1:], example["value"]) for example in content["examples"].values())
            if "requestBody" not in operation:
                query = {each["name"]: each["example"] for each in operation.get("parameters", [])}
                yield method, path[1:], query


def test_every_example_is_answered(documented: Documented) -> None:
    sent = 0
    for method, name, asked in requests_of(documented.document):
        body, query = (None, asked) if method == "get" else (asked, None)
        answer = requests.request(method, f"{documented.url}/{name}", json=body, params=query, timeout=30)
        expected = 404 if name.startswith("previous/") else 200  # no previous version runs
        assert answer.status_code == expected, (name, asked, answer.text)
        if answer.headers["Content-Type"] == "application/json":
            documented.check(name, answer)
        sent += 1
    assert sent > len(documented.document["paths"])


def test_every_answer_has_an_example_that_fits_its_schema(documented: Documented) -> None:
    without = []
    for path, operations in documented.document["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                for kind, content in answer["content"].items():
                    if "example" in content:
                        schema = content["schema"] | {"components": documented.document["components"]}
                        jsonschema.Draft202012Validator(schema).validate(content["example"])
                    elif kind == "application/json" and (status, path[:10]) != ("200", "/previous/"):
                        without.append(f"{status} of {path}")
    assert without == []


def test_every_operation_has_a_tag_an_id_and_a_sentence(documented: Documented) -> None:
    operations = [each for at in documented.document["paths"].values() for each in at.values()]
    tags = [tag["name"] for tag in documented.document["tags"]]
    assert {tag for each in operations for tag in each["tags"]} == set(tags)
    assert tags[0] == "Recommend"
    refused = {"200", "400", "401", "403", "404", "413", "415", "503"}
    for name in ("recommend", "similar_items", "explain"):
        assert refused <= documented.document["paths"][f"/{name}"]["post"]["responses"].keys()
    assert len({each["operationId"] for each in operations}) == len(operations)
    assert [each["summary"] for each in operations if not re.fullmatch(r"[A-Z][^`]+\.", each["summary"])] == []


def test_the_first_three_calls_work_as_they_are_printed(documented: Documented) -> None:
    commands = re.findall(r"^curl .*$", documented.document["info"]["description"], re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        here = command.replace("http://127.0.0.1:3000", documented.url)
        answer = subprocess.run(here, shell=True, capture_output=True, text=True, timeout=30, check=True).stdout
        assert json.loads(answer)["model"]


def test_a_list_of_a_known_user_has_a_fallback_of_null_and_the_document_says_so(documented: Documented) -> None:
    answer = documented.answer("recommend", {"user_id": USER_IDS[0]})
    assert answer.json()["fallback"] is None
    schema = documented.document["components"]["schemas"]["Answer"]
    assert {"type": "null"} in schema["properties"]["fallback"]["anyOf"]
    assert "fallback" in schema["required"]
    for name, wrong in (("recommend", {"user_id": USER_IDS[0]}), ("similar_items", {"item_id": ITEM_IDS[0]})):
        with pytest.raises(jsonschema.ValidationError):  # the check can fail
            documented.check(name, altered(documented.answer(name, wrong), fallback="unheard of"))


def altered(answer: requests.Response, **changes: Any) -> requests.Response:
    answer._content = json.dumps(answer.json() | changes).encode()
    return answer


JSON, OTHER = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}


@pytest.mark.parametrize(
    "name", [name for name in KNOWN if name not in ("items", "users", "history", "columns", "exposure", "previous")]
)
@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (400, JSON, b'{"unheard of": 1}'),
        (403, JSON | {"Origin": "http://evil.test"}, b"{}"),
        (403, JSON | {"Sec-Fetch-Site": "same-site"}, b"{}"),
        (413, JSON, b" " * (2**20 + 1)),
        (415, OTHER, b"{}"),
        (421, JSON | {"Host": "evil.test"}, b"{}"),
    ],
)
def test_what_is_refused_is_answered_as_documented(
    documented: Documented, name: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    answer = requests.post(f"{documented.url}/{name}", data=body, headers=headers, timeout=30)
    if name == "model_info" and status == 400:
        status = 200  # it takes no body
    assert answer.status_code == status, answer.text
    documented.check(name, answer)
    if status in (403, 413, 415, 421):  # the documented body is the one that is sent
        described = documented.document["paths"][f"/{name}"]["post"]["responses"][str(status)]
        assert answer.json() == described["content"]["application/json"]["example"]


def test_another_method_is_answered_as_documented(documented: Documented) -> None:
    for name in KNOWN:
        method = "GET" if "post" in documented.document["paths"][f"/{name}"] else "POST"
        answer = requests.request(method, f"{documented.url}/{name}", headers=JSON, timeout=30)
        assert answer.status_code == 405, name
        documented.check(name, answer)


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
