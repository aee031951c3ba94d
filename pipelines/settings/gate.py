"""Section `gate`: the rules, and their required confidence."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.settings.document import Section, Strict, Text


class Rule(Strict):
    """Bound on a metric: `min` or `max` of its value, or `min_gain` / `max_loss` against a reference."""

    name: Text
    metric: Text
    reference: Text | None = None
    slice: Text | None = None
    min: float | None = None
    max: float | None = None
    min_gain: Annotated[float, Field(ge=0)] | None = None
    max_loss: Annotated[float, Field(ge=0)] | None = None
    relative: bool = False
    tolerance: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def one_bound(self) -> Rule:
        bounds = [key for key in ("min", "max", "min_gain", "max_loss") if getattr(self, key) is not None]
        if len(bounds) != 1:
            raise ValueError(
                f"rule {self.name!r} has the bounds {bounds}, expected exactly one of min, max, min_gain, max_loss"
            )
        if (bounds[0] in ("min_gain", "max_loss")) != (self.reference is not None):
            raise ValueError(f"rule {self.name!r}: min_gain and max_loss need a reference, min and max take none")
        if self.relative and self.reference is None:
            raise ValueError(f"rule {self.name!r}: relative needs a reference, min and max are absolute")
        return self

    def of(self) -> str:
        return figure(self.metric, self.slice)


def figure(metric: str, users: str | None) -> str:
    """Return the name of the bounded figure: a metric, of all users or of a slice."""
    return f"{metric} of {users}" if users else metric


class Attempts(Strict):
    """Share of the level for each candidate in the sequence judged on a holdout."""

    rule: Literal["spend", "count"]
    half: Annotated[int, Field(ge=1, le=10_000)]


class Gate(Section):
    section = "gate"
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    correction: Literal["none", "holm"]
    seen_holdout: Literal["hold", "skip"]
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
