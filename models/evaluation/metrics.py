"""The registry of all metrics by name; `accuracy`, `exposure` and `parity` define them."""

from __future__ import annotations

import re

from models.evaluation import accuracy, exposure, parity
from models.evaluation.metric import Metric

REGISTRY: dict[str, Metric] = {**accuracy.METRICS, **exposure.METRICS, **parity.METRICS}


def look_up(name: str) -> tuple[str, Metric, int]:
    """Return base name, properties and k of a metric written `<name>@<k>`; raises ValueError listing all metrics."""
    base, _, k = name.partition("@")
    if base not in REGISTRY or not re.fullmatch(r"[1-9]\d{0,3}", k, re.ASCII):
        raise ValueError(f"unknown metric {name!r}; write <metric>@<k> with one of {', '.join(REGISTRY)}")
    return base, REGISTRY[base], int(k)
