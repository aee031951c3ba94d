"""Section `gate`: the rules, and their required confidence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.gate import rule as gate_rule
from pipelines.settings.document import Section, Strict


class Rule(Strict, gate_rule.Rule):  # type: ignore[misc]  # mypy does not see that Strict is frozen
    """Rule of a policy, read strictly."""

    @model_validator(mode="after")
    def one_bound(self) -> Rule:
        self.check_bound()
        return self


class Attempts(Strict):
    """Share of the level for each candidate in the sequence judged on a holdout."""

    rule: Literal["spend", "count"]
    half: Annotated[int, Field(ge=1, le=10_000)]


class Gate(Section):
    section = "gate"
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    correction: Literal["none", "holm"]
    seen_holdout: Literal["hold", "skip"]
    max_lost_items: Annotated[float, Field(ge=0, le=1)]
    max_lost_users: Annotated[float, Field(ge=0, le=1)]
    accept_shrink: Annotated[str, Field(pattern=r"^v\d+\.\d+\.\d+$")] | None
    attempts: Attempts
    rules: list[Rule]

    @model_validator(mode="after")
    def distinct_names(self) -> Gate:
        names = [rule.name for rule in self.rules]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several rules are named {', '.join(repeated)}, expected distinct names")
        return self

    @model_validator(mode="after")
    def best_can_be_found(self) -> Gate:
        """Check that rules against the best release have the comparisons with champions that find it."""
        compared = {rule.of() for rule in self.rules if rule.reference == "champion"}
        for rule in self.rules:
            if rule.reference == "best" and rule.of() not in compared:
                raise ValueError(
                    f"rule {rule.name!r} compares {rule.of()} with the best release, which is found by comparisons "
                    f"with the champion, and no rule has one; add a rule for {rule.of()} with reference: champion"
                )
        return self
