"""The kinds of bounds: each is named once, and every other place takes it from there."""

from __future__ import annotations

from dataclasses import fields

import pytest

from models.gate.rule import BOUNDS, Rule, is_upper


def rule(name: str) -> Rule:
    return Rule("r", "ndcg@5", "champion" if BOUNDS[name].of_gain else None, **{name: 0.25})  # type: ignore[arg-type]


def test_every_bound_is_a_field_that_a_rule_may_leave_out() -> None:
    absent = [field.name for field in fields(Rule) if field.default is None]
    assert [name for name in absent if name not in ("reference", "slice")] == list(BOUNDS)


@pytest.mark.parametrize(("name", "limit"), [("min", 0.25), ("max", 0.25), ("min_gain", 0.25), ("max_loss", -0.25)])
def test_a_bound_limits_an_effect(name: str, limit: float) -> None:
    assert rule(name).threshold() == limit
    assert rule(name).limits() == {name: 0.25}
    rule(name).check_bound()


def test_the_record_of_a_bound_tells_its_side() -> None:
    assert [name for name in BOUNDS if is_upper(rule(name).bound())] == ["max"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Rule("r", "ndcg@5"), r"has the bounds \[\], expected exactly one of min, max, min_gain, max_loss"),
        (Rule("r", "ndcg@5", min=0.1, max=0.2), r"has the bounds \['min', 'max'\], expected exactly one"),
        (Rule("r", "ndcg@5", min_gain=0.1), "min_gain and max_loss need a reference, min and max take none"),
        (Rule("r", "ndcg@5", "champion", min=0.1), "min_gain and max_loss need a reference, min and max take none"),
        (Rule("r", "ndcg@5", min=0.1, relative=True), "relative needs a reference, min and max are absolute"),
    ],
)
def test_a_rule_without_exactly_one_bound_of_its_reference_is_an_error(wrong: Rule, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong.check_bound()
