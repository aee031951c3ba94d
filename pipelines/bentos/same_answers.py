"""Check over HTTP that a started version gives the same answers as when it was packaged, before it serves clients."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import requests

from pipelines.bentos.smoke import K

DIFFERENT = 2  # of K items: scores that are equal up to rounding swap ranks on another processor


def check(url: str, bento: Mapping[str, Any]) -> None:
    """Raise ValueError at the first answer that differs from bento.json."""
    tag, smoke = bento["tag"], bento["smoke"]
    about = ask(url, "model_info", {})
    if about.get("model") != tag:
        raise ValueError(f"the server answers as {about.get('model')}, expected {tag}")
    for user in ask(url, "users")["users"][:1]:
        known = ask(url, "recommend", {"user_id": user, "k": K})
        if known.get("fallback") is not None or not known["items"]:
            raise ValueError(f"the answer for a known user is {known}, expected a list from the history")
    unknown = ask(url, "recommend", {"user_id": "\u0001 nobody", "k": K})
    compare("the answer for an unknown user", unknown, smoke["unknown_user"]["items"])
    answer = ask(url, "recommend_for_items", {"item_ids": smoke["list_of_items"]["item_ids"], "k": K})
    compare("the answer for a list of items", answer, smoke["list_of_items"]["items"])


def compare(subject: str, answer: Mapping[str, Any], expected: list[str]) -> None:
    found = [item["item_id"] for item in answer["items"]]
    if len(set(found) ^ set(expected)) > 2 * DIFFERENT:
        raise ValueError(f"{subject} is {found}, expected {expected} as when the Bento was packaged")


def ask(url: str, endpoint: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the answer to a request that must succeed, a GET without a body; it does not count as exposure."""
    headers = {"X-Longtail-Purpose": "explore"}
    if key := os.environ.get("LONGTAIL_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    with requests.Session() as session:
        session.trust_env = False  # a proxy must not see requests to loopback
        method = "GET" if body is None else "POST"
        response = session.request(method, f"{url}/{endpoint}", json=body, headers=headers, timeout=30)
    if response.status_code != 200:
        raise ValueError(f"{endpoint} answers {response.status_code}: {response.text[:300]}")
    answer: dict[str, Any] = response.json()
    return answer
