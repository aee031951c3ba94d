"""Changes from the champion's data: what they say, and which of them hold a candidate back."""

from __future__ import annotations

from typing import Any

import pytest

from models.gate.continuity import Limits, changes, reason

LIMITS = Limits(max_lost_items=0.2, max_lost_users=0.3)


def facts(
    *, source: tuple[str | None, str] = ("table", "table"), items: tuple[int, int, int] = (100, 100, 0),
    users: tuple[int | None, int] = (50, 50),
) -> dict[str, Any]:  # fmt: skip
    return {
        "source": dict(zip(("before", "now"), source, strict=True)),
        "items": dict(zip(("before", "now", "lost"), items, strict=True)),
        "users": dict(zip(("before", "now"), users, strict=True)),
    }


def held_back(found: dict[str, Any], limits: Limits = LIMITS) -> str | None:
    return reason(changes(found, "v1.0.0", limits), "v1.0.0")


def test_a_catalogue_that_grows_or_shrinks_within_the_limits_passes() -> None:
    assert changes(facts(), "v1.0.0", LIMITS) == []
    assert held_back(facts(items=(100, 300, 20), users=(50, 35))) is None
    assert [change.lost for change in changes(facts(items=(100, 300, 20)), "v1.0.0", LIMITS)] == [0.2]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (facts(items=(3000, 400, 2700)), "2,700 of 3,000 items are gone (90.0 %, at most 20 % allowed)"),
        (facts(items=(100, 100, 21)), "21 of 100 items are gone"),  # as many others have come
        (facts(users=(50, 34)), "34 users instead of 50 (fewer by 32.0 %, at most 30 % allowed)"),
        (facts(source=("movielens", "table")), "the source of the data is table instead of movielens"),
    ],
)
def test_more_than_the_limits_is_held_back_until_accepted_for_this_champion(found: dict[str, Any], text: str) -> None:
    why = held_back(found)
    assert why is not None
    assert text in why
    assert why.endswith("If that is meant, set gate.accept_shrink to v1.0.0 and judge again.")
    assert held_back(found, Limits(0.2, 0.3, accept_shrink="v1.0.0")) is None
    assert held_back(found, Limits(0.2, 0.3, accept_shrink="v2.0.0")) == why  # of an earlier release


def test_the_demo_never_replaces_other_data() -> None:
    why = held_back(facts(source=("table", "demo")), Limits(1, 1, accept_shrink="v1.0.0"))
    assert why is not None
    assert "the demo never replaces other data" in why
    assert "accept_shrink" not in why
    assert held_back(facts(source=("demo", "demo"))) is None


def test_what_an_early_release_did_not_record_is_not_compared() -> None:
    assert changes(facts(source=(None, "table"), users=(None, 3)), "v1.0.0", LIMITS) == []
    assert changes(None, "v1.0.0", LIMITS) == changes(facts(users=(50, 1)), None, LIMITS) == []
