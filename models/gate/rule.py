"""Rule of a policy: a bound on one figure, and the kinds of bounds.

The section `gate` of params.yaml takes fields and bounds from here. No numpy: settings are read by every command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import neg
from typing import Annotated

from annotated_types import Ge, MinLen

Text = Annotated[str, MinLen(1)]
NotNegative = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Bound:
    """Kind of a bound: which effect it limits, from which side, and where."""

    of_gain: bool  # over the rule's reference, else of the metric's value
    is_upper: bool = False  # the effect must not exceed the limit
    limit: Callable[[float], float] = float  # of the effect, from the number in the rule


BOUNDS = {  # by name of the rule's field
    "min": Bound(of_gain=False),
    "max": Bound(of_gain=False, is_upper=True),
    "min_gain": Bound(of_gain=True),
    "max_loss": Bound(of_gain=True, limit=neg),
}


@dataclass(frozen=True)
class Rule:
    """Bound on a metric: `min` or `max` of its value, or `min_gain` / `max_loss` against a reference."""

    name: Text
    metric: Text
    reference: Text | None = None
    slice: Text | None = None  # restrict to users of this slice, `<slicing>=<value>`
    min: float | None = None
    max: float | None = None
    min_gain: NotNegative | None = None
    max_loss: NotNegative | None = None
    relative: bool = False  # gain, loss and tolerance as a share of the reference's value
    tolerance: NotNegative = 0.0  # allowed deviation from the bound

    def limits(self) -> dict[str, float]:
        """Return the given bounds, of which a rule has exactly one."""
        return {name: value for name in BOUNDS if (value := getattr(self, name)) is not None}

    def bounded_by(self) -> Bound:
        """Return the kind of the bound."""
        (name,) = self.limits()
        return BOUNDS[name]

    def bound(self) -> dict[str, float | bool]:
        """Return the bound as configured."""
        given: dict[str, float | bool] = {**self.limits()}
        if self.reference:
            given["relative"] = self.relative
        return given | ({"tolerance": self.tolerance} if self.tolerance else {})

    def threshold(self) -> float:
        """Return the limit to reach (of an upper bound: not to exceed), tolerance included, in the effect's unit."""
        ((name, value),) = self.limits().items()
        limit = BOUNDS[name].limit(float(value))
        return limit + self.tolerance if BOUNDS[name].is_upper else limit - self.tolerance

    def of(self) -> str:
        """Return the name of the bounded figure, with its slice."""
        return figure(self.metric, self.slice)

    def check_bound(self) -> None:
        """Raise ValueError unless the rule has one bound, with a reference if and only if its kind needs one."""
        given = list(self.limits())
        if len(given) != 1:
            raise ValueError(f"rule {self.name!r} has the bounds {given}, expected exactly one of {', '.join(BOUNDS)}")
        of_gain, of_value = listed(bound_names(of_gain=True)), listed(bound_names(of_gain=False))
        if self.bounded_by().of_gain != (self.reference is not None):
            raise ValueError(f"rule {self.name!r}: {of_gain} need a reference, {of_value} take none")
        if self.relative and self.reference is None:
            raise ValueError(f"rule {self.name!r}: relative needs a reference, {of_value} are absolute")


def figure(metric: str, users: str | None) -> str:
    """Return the name of the bounded figure: a metric, of all users or of a slice."""
    return f"{metric} of {users}" if users else metric


def bound_names(*, of_gain: bool) -> list[str]:
    """Return the names of the bounds of a gain, or of a value."""
    return [name for name, bound in BOUNDS.items() if bound.of_gain == of_gain]


def listed(words: Iterable[str], last: str = "and") -> str:
    """Join words, such as "a, b and c"."""
    *before, final = words
    return f"{', '.join(before)} {last} {final}" if before else final


def is_upper(bound: Iterable[str]) -> bool:
    """Tell whether a bound as in verdict.json is an upper one."""
    return any(BOUNDS[name].is_upper for name in bound if name in BOUNDS)
