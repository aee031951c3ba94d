"""The level at which a candidate has to pass a gate that has judged others on the same holdout before.

Of many useless candidates some pass at level alpha by luck: one of twenty gets through at 5 % in 53 to 58 % of all
cases. So levels are spent, alpha in the first place and alpha once more for everything after it:

- the first candidate on a holdout: alpha, so that a team that looks once pays nothing;
- candidate i = 2, 3, ... on the same holdout: alpha/2 * w_i with w_i = h / ((h + i - 2) (h + i - 1)), whose sum over
  all i is 1, of which the first h candidates use half;
- the r-th further way to split the same data (`split.seed`), r = 1, 2, ...: alpha/2 * 2^-r in all, half of it for its
  first candidate and half, by the same w_i, for those after it.

The bound: among candidates of one epoch whose holdouts share pairs with one another, the probability that any is
promoted whose true effect violates a rule is at most alpha + alpha/2 sum w_i + sum_r alpha/2 2^-r = 2 alpha, however
many there are and however they depend on one another (union bound). An epoch ends with a promotion: the champion is
another one then, and so is the hypothesis. A discovery earns a new budget, as in alpha investing (Foster and Stine
2008, JRSS B 70(2); Javanmard and Montanari 2018, Annals of Statistics 46(2)). Over a long time it is false promotions
per promotion that stay rare. Many promotions of good models, on one holdout too, leave room for some bad one.

The bound holds for candidates that are fixed before anybody looks at the holdout, such as twenty seeds or a training
every day. A person who chooses the next candidate by the figures of the same holdout makes its test less strict than
its level says (Dwork et al. 2015, Science 349(6248); Blum and Hardt 2015, ICML). So does one who compares candidates by
their figures on the holdout and has the best one judged alone. No rule on the level prevents that. A fresh holdout
does: later events under a split by time, whose test sets still share users, or another seed under a split by hash,
whose pairs the champion was trained on. A rejection needs no spending, since nobody tries many times in order to be
rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CLOSEST = 1e-12  # to 1, of a confidence that floats can still tell from it


@dataclass(frozen=True)
class Holdout:
    """A test set, as far as it tells which others share pairs with it.

    line: the way to split (one for all splits by time; one per seed for those by hash). window: its first and last
    moment under a split by time, in any unit; None under a split by hash, whose test set reaches over all times.
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
    """Place of a candidate on `holdout` after those on `earlier`, one entry each, of the same epoch in their order.

    assumed: candidates nobody can tell the holdouts of, each counted as if it was on this one.
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
    """Level at which the candidate at a place has to pass; half: h above."""
    if at.line == 0:
        return alpha if at.number == 1 else alpha / 2 * weight(at.number, half)
    share = alpha / 2 * 2.0**-at.line
    return share / 2 * (1.0 if at.number == 1 else weight(at.number, half))


def weight(number: int, half: int) -> float:
    """w_i for i = 2, 3, ...: the difference of h/(h + i - 2) and h/(h + i - 1), so that the sum up to n telescopes."""
    return half / ((half + number - 2) * (half + number - 1))


def confidence(spent: float) -> float:
    """Confidence that passing at a level needs, at most what a float can tell from certainty."""
    return min(1 - spent, 1 - CLOSEST)


def events_until_fresh(n_events: int, *, test: float) -> float:
    """Number of further events after which the last share `test` of all events holds none of the first n_events."""
    return n_events * test / (1 - test)
