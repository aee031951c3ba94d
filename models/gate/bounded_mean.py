"""P-values for the mean of a bounded variable, valid also for few users and for values that are mostly 0.

An effect of one user in n may be missing from a sample of n users, and then a bootstrap of them has no spread.
Dirichlet weights of users do have spread, with one more user who has the worst possible value (Gaffke 2005;
Learned-Miller and Thomas 2019, arXiv:1905.06208): for values 0 and 1 they give the interval of Clopper and Pearson, for
many users that of the central limit theorem, corrected for skewness. One whole user costs power if values scatter,
which hides the steps that make the interval of Clopper and Pearson exact. So two computations have to agree:

- all users as they are, and a quarter of a user with the worst value;
- users with large losses as they are, all others at their mean, and one whole user with the worst value.

Nothing is sampled: a Dirichlet mean is below 0 if and only if a weighted sum of exponential variables is, and a
saddlepoint approximation has its tail to three digits (Lugannani and Rice 1980, Advances in Applied Probability 12(2)).
The quarter was chosen on mixtures of rare losses and noise; `make bench-gate-level` measures level and power on other
data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, ndtri

from models.evaluation.metric import Floats

UNSEEN = 0.25  # users with the worst value, added to the users as they are
ROUNDING = 1e-12  # of a mean: 0.1 averaged over users need not be 0.1
BINS = 10_000  # used for more than twice as many values; they change the variance of a mean by less than a millionth
STEPS = 200  # maximum for Newton's method; about six are needed
WIDEST = 60  # doublings of a bracket


def p_value(values: Floats, worst: float, *, repeated: float = 1.0) -> float:
    """Return the p-value of "the mean is 0 or less" for values (n,); no value can be below `worst`.

    repeated: factor of the number of users, with the same values. NaN without users.
    """
    if not len(values):
        return math.nan
    if worst >= -ROUNDING:
        return 0.0
    values, users = binned(values)
    loses = values < worst / 2
    much, others = values[loses], float(users[~loses].sum())
    ends, unseen = np.array([worst]), np.array([1.0])
    noisy = mass_below(np.concatenate([values, ends]), np.concatenate([repeated * users, UNSEEN * unseen]))
    if noisy > 0.5:  # the second computation only raises the p-value
        return noisy
    mean = np.array([(users[~loses] @ values[~loses]) / others] * bool(others))
    weights = np.concatenate([repeated * users[loses], np.full(len(mean), others * repeated), unseen])
    return max(noisy, mass_below(np.concatenate([much, mean, ends]), weights))


def binned(values: Floats) -> tuple[Floats, Floats]:
    """Return values (m,) and their numbers of users: as they are, or for many values the means of narrow bins."""
    if len(values) <= 2 * BINS:
        return values, np.ones(len(values))
    low, high = float(values.min()), float(values.max())
    if low == high:
        return values[:1], np.array([float(len(values))])
    place = np.minimum(((values - low) * (BINS / (high - low))).astype(np.int64), BINS - 1)
    users = np.bincount(place, minlength=BINS).astype(np.float64)
    sums = np.bincount(place, weights=values, minlength=BINS)
    return sums[users > 0] / users[users > 0], users[users > 0]


def mass_below(values: Floats, weights: Floats) -> float:
    """Return P(Σ G_i values_i <= 0) for independent G_i ~ Gamma(weights_i, 1), values and weights (n,)."""
    largest = float(np.abs(values).max())
    if largest == 0.0 or values.max() <= 0.0:
        return 1.0
    if values.min() >= 0.0:
        return 0.0
    y = values / largest
    tilt = saddlepoint(y, weights)
    ratio = y / (1 - tilt * y)
    variance = float(weights @ ratio**2)
    exponent = float(weights @ np.log1p(-tilt * y))
    root = math.copysign(math.sqrt(max(2 * exponent, 0.0)), tilt)
    if abs(root) < 1e-4:  # at the mean itself the formula is 0/0
        return 0.5 + float(weights @ ratio**3) / (3 * math.pow(variance, 1.5) * math.sqrt(2 * math.pi))
    density = math.exp(-root * root / 2) / math.sqrt(2 * math.pi)
    mass = float(ndtr(root)) + density * (1 / root - 1 / (tilt * math.sqrt(variance)))
    return min(max(mass, 0.0), 1.0)


def saddlepoint(y: Floats, weights: Floats) -> float:
    """Return the root s of Σ w y / (1 - s y), the derivative of the cumulant generating function -Σ w log(1 - s y)."""
    low, high = 1 / float(y.min()), 1 / float(y.max())
    tilt = 0.0
    for _ in range(STEPS):
        ratio = y / (1 - tilt * y)
        slope, curvature = float(weights @ ratio), float(weights @ ratio**2)
        low, high = (tilt, high) if slope < 0 else (low, tilt)  # the derivative rises
        step = tilt - slope / curvature
        step = step if low < step < high else (low + high) / 2
        if abs(slope) <= 1e-12 * math.sqrt(curvature) or step == tilt:
            break
        tilt = step
    return tilt


def bound(p_of: Callable[[float], float], start: float, *, step: float, level: float) -> float | None:
    """Return the value beyond `start`, in the direction of `step`, at which a p-value falls to `level`.

    p_of falls from `start` on; None if it never reaches the level.
    """

    from scipy.optimize import brentq  # takes a third of a second, only needed to judge

    def excess(value: float) -> float:
        return float(ndtri(min(max(p_of(value), 1e-300), 1 - 1e-16)) - ndtri(level))

    inside = start
    if excess(inside) <= 0:
        return inside
    for _ in range(WIDEST):
        outside = inside + step
        if excess(outside) <= 0:
            found: float = brentq(excess, inside, outside, xtol=1e-11 * abs(step), rtol=1e-11, maxiter=100)
            return found
        inside, step = outside, 2 * step
    return None


def users_needed(values: Floats, worst: float, *, level: float, most: float = 1e4) -> int | None:
    """Return the number of users, with the same values, for a `p_value` of `level`; None above `most` times as many."""
    if not p_value(values, worst, repeated=most) <= level:
        return None
    few, many = 1.0, most
    while many / few > 1.01:
        middle = math.sqrt(few * many)
        few, many = (few, middle) if p_value(values, worst, repeated=middle) <= level else (middle, many)
    return math.ceil(many * len(values))
