"""The significance level for a candidate, given earlier candidates judged on the same holdout.

Of many useless candidates some pass at level alpha by luck: of twenty, at least one passes at 5 % in 53 to 58 % of all
cases. So levels are spent, alpha on the first candidate and alpha once more on all later ones:

- the first candidate on a holdout: alpha, so that a single test costs nothing;
- candidate i = 2, 3, ... on the same holdout: alpha/2 * w_i with w_i = h / ((h + i - 2) (h + i - 1)), whose sum over
  all i is 1, of which the first h candidates use half;
- the r-th further way to split the same data (`split.seed`), r = 1, 2, ...: alpha/2 * 2^-r in all, half of it for its
  first candidate and half, by the same w_i, for those after it.

The bound: among candidates of one epoch whose holdouts share pairs with one another, the probability that any is
promoted whose true effect violates a rule is at most alpha + alpha/2 sum w_i + sum_r alpha/2 2^-r = 2 alpha, however
many there are and however they depend on one another (union bound). An epoch ends with a promotion, since that changes
the champion and so the hypothesis. A discovery earns a new budget, as in alpha investing (Foster and Stine
2008, JRSS B 70(2); Javanmard and Montanari 2018, Annals of Statistics 46(2)). In the long run the rate of false
promotions per promotion is bounded. Many promotions of good models, even on one holdout, may include a bad one.

The bound holds for candidates that are fixed before the holdout is looked at, such as twenty seeds or a daily training.
Choosing the next candidate by figures of the same holdout makes its test less strict than its level (Dwork et al. 2015,
Science 349(6248); Blum and Hardt 2015, ICML). So does comparing candidates by their figures on the holdout and having
only the best one judged. No rule on the level prevents that. A fresh holdout does: later events under a split by time
(its test sets still share users), or another seed under a split by hash (the champion was trained on some of its
pairs). A rejection needs no spending, since repeated attempts do not aim at rejections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CLOSEST = 1e-12  # distance to 1 of the largest confidence distinguishable from 1


@dataclass(frozen=True)
class Holdout:
    """A test set, by the properties that decide which others share pairs with it.

    line: the way to split (one for all splits by time; one per seed for those by hash). window: its first and last
    moment under a split by time, in any unit; None under a split by hash, where test sets span all times.
    """

    line: str
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class Place:
    """The place of a candidate among those judged before it.

    number: 1, 2, ... among the candidates on holdouts of its line that share pairs with its own. line: 0 for the first
    way to split in this epoch, 1, 2, ... for further ones.
    """

    number: int
    line: int


def place(holdout: Holdout, earlier: Sequence[Holdout], *, assumed: int = 0) -> Place:
    """Return the place of a candidate on `holdout` after those on `earlier`: one entry each, in order, of one epoch.

    assumed: number of candidates with unknown holdouts, each counted as if on this one.
    """
    lines = list(dict.fromkeys(each.line for each in earlier))
    line = lines.index(holdout.line) if holdout.line in lines else len(lines)
    return Place(1 + assumed + sum(counts(each, holdout) for each in earlier), line)


def counts(one: Holdout, other: Holdout) -> bool:
    """Return whether two holdouts of one line share pairs: by hash always, by time if their windows meet."""
    if one.line != other.line:
        return False
    if one.window is None or other.window is None:
        return True
    return one.window[0] <= other.window[1] and other.window[0] <= one.window[1]


def level(at: Place, *, alpha: float, half: int) -> float:
    """Return the level at which the candidate at a place has to pass; half: h above."""
    if at.line == 0:
        return alpha if at.number == 1 else alpha / 2 * weight(at.number, half)
    share = alpha / 2 * 2.0**-at.line
    return share / 2 * (1.0 if at.number == 1 else weight(at.number, half))


def weight(number: int, half: int) -> float:
    """Return w_i for i = 2, 3, ...: h/(h + i - 2) - h/(h + i - 1), so that the sum up to n telescopes."""
    return half / ((half + number - 2) * (half + number - 1))


def confidence(spent: float) -> float:
    """Return the confidence for passing at a level, at most 1 - CLOSEST."""
    return min(1 - spent, 1 - CLOSEST)


def events_until_fresh(n_events: int, *, test: float) -> float:
    """Return the number of further events until the last share `test` of events has none of the first n_events."""
    return n_events * test / (1 - test)
