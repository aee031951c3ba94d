"""Table of metrics in the reports: the meaning of each, and every model's figure at every k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.evaluation.metrics import REGISTRY
from pipelines.gate.report import best
from pipelines.gate.report.rules import number

Models = Mapping[str, Mapping[str, float]]
KINDS = (("accuracy", "Accuracy"), ("tail", "Tail and exposure"))
SAYS = "An item is relevant to a user who interacted with it in test; items of the user's history are not listed."
DIRECTION = f"{best.SAYS}; higher is better unless the row says that lower is."
REFERENCES = {
    "popularity": "popularity recommends the most popular items to every user",
    "random": "random recommends items drawn at random",
    "content": "content recommends the items whose texts are most similar to those of the user's history",
}


def references(models: Models) -> str:
    """Return sentences that describe the evaluated references."""
    described = [says for name, says in REFERENCES.items() if name in models]
    older = [f"{name} is the best release by a metric that rules bound" for name in models if name.startswith("best ")]
    return f"References: {'; '.join(described + older)}." if described + older else ""


def remark(base: str) -> str:
    """Return unit and direction of a metric, unless it is a share that is better when higher."""
    metric = REGISTRY[base]
    return ", ".join(filter(None, [metric.unit, "" if metric.higher_is_better else "lower is better"]))


def bases(models: Models) -> list[str]:
    """Return all metrics that some model has, in the order of the registry."""
    found = {name.partition("@")[0] for values in models.values() for name in values}
    return [base for base in REGISTRY if base in found]


def ks_of(models: Models) -> list[int]:
    return sorted({int(name.partition("@")[2]) for values in models.values() for name in values})


def markdown(models: Models) -> list[str]:
    rows = []
    for base in bases(models):
        for k in ks_of(models):
            found = " | ".join(best.bold(*each) for each in cells(models, base, k))
            rows.append(f"| {base}@{k} | {found} | {remark(base)} |")
    return [
        "## Metrics",
        "",
        f"{SAYS} {references(models)} {DIRECTION}".replace("  ", " "),
        "",
        *(f"- {base}: {REGISTRY[base].says}" for base in bases(models)),
        "",
        f"| metric | {' | '.join(models)} | unit, direction |",
        f"|---|{'--:|' * len(models)}---|",
        *rows,
        "",
    ]


def cells(models: Models, base: str, k: int) -> list[tuple[str, bool]]:
    """Return the figure of each model as text, and whether it is the best."""
    values = [figures.get(f"{base}@{k}") for figures in models.values()]
    marks = best.marks(values, higher_is_better=REGISTRY[base].higher_is_better)
    return list(zip(map(number, values), marks, strict=True))


def for_page(models: Models) -> dict[str, Any]:
    """Return the table in the form of page.html: a row per metric, the models side by side at each k."""
    ks = ks_of(models)
    groups = []
    for kind, title in KINDS:
        rows = []
        for base in (base for base in bases(models) if REGISTRY[base].kind == kind):
            meaning = REGISTRY[base].says + (f" ({remark(base)})" if remark(base) else "")
            by_k = [cells(models, base, k) for k in ks]
            rows.append((base, meaning, [each for of_model in zip(*by_k, strict=True) for each in of_model]))
        groups.append((title, rows))
    return {"note": f"{SAYS} {DIRECTION}", "models": list(models), "ks": ks, "groups": groups}
