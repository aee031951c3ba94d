"""Chained index of releases: their relative levels, from every release's comparison with its champion.

Values on different holdouts are not comparable, but gains on the same holdout are. Chained from release to release they
give levels, like price indices of different baskets (ILO 2004, Consumer Price Index Manual, chapter 9).
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
    """Return the levels of the newest release and its predecessors, higher is better.

    links: newest first, the last one compares with the oldest release. Gains are ratios, which do not depend on the
    holdout's scale; if any value is not positive, so that ratios are meaningless, all gains are differences.
    """
    ratios = all(link.value > 0 and link.reference_value > 0 for link in links)
    found = [1.0 if ratios else 0.0]
    for link in links:
        better, worse = (link.value, link.reference_value)[:: 1 if higher_is_better else -1]
        found.append(found[-1] / (better / worse) if ratios else found[-1] - (better - worse))
    return found


def best(levels: Sequence[float], eligible: Sequence[bool]) -> int:
    """Return the position of the highest eligible level, the first of equal ones; 0 if none is eligible."""
    return max((i for i, allowed in enumerate(eligible) if allowed), key=lambda i: levels[i], default=0)
