"""Chained index of releases: how good each was beside the newest, from every release's comparison with its champion.

Values of different holdouts are not comparable, but gains on the same holdout are. Linked from release to release they
give levels, as price indices of different baskets are chained (ILO 2004, Consumer Price Index Manual, chapter 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """A metric of a release and of the champion that it was compared with, on the same users."""

    value: float
    reference_value: float


def levels(links: Sequence[Link], *, higher_is_better: bool = True) -> list[float]:
    """Levels of the newest release and of those before it, higher is better.

    links: newest first, the last one compares with the oldest release. Gains are ratios, which outlive a change of
    scale between holdouts; where a value is not positive, and ratios have no meaning, all of them are differences.
    """
    ratios = all(link.value > 0 and link.reference_value > 0 for link in links)
    found = [1.0 if ratios else 0.0]
    for link in links:
        better, worse = (link.value, link.reference_value)[:: 1 if higher_is_better else -1]
        found.append(found[-1] / (better / worse) if ratios else found[-1] - (better - worse))
    return found


def best(levels: Sequence[float], eligible: Sequence[bool]) -> int:
    """Position of the highest level among the eligible ones, the first of equal ones; 0 where none is eligible."""
    return max((i for i, allowed in enumerate(eligible) if allowed), key=lambda i: levels[i], default=0)
