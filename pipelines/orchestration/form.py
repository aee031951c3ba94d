"""Fields of the trigger form, as changes of params.yaml.

A field with a dot in its name, such as `train.als.epochs`, is a key of params.yaml; so is every key of `overrides`.
Null, and an empty text or list, keep the value of params.yaml; `overrides` can set these too.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

from ruamel.yaml import YAML

from pipelines.settings.document import flat

AS_CONFIGURED = "params.yaml"
SOURCES: dict[str, dict[str, Any]] = {
    AS_CONFIGURED: {},
    "demo": {"ingest.source": "demo", "ingest.url": None},
    "tiny demo": {
        "ingest.source": "demo",
        "ingest.url": None,
        "ingest.demo.users": 500,
        "ingest.demo.items": 400,
        "ingest.demo.events": 15000,
        "ingest.demo.new_items": 20,
        "ingest.demo.dirty_rows": 30,
        "train.als.embedding_dim": 8,
        "train.als.epochs": 4,
    },
    "movielens small": {  # a hundred thousand ratings, downloaded from the publisher
        "ingest.source": "movielens",
        "ingest.url": "https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
        "ingest.sha256": None,
    },
    "movielens": {"ingest.source": "movielens"},
    "table": {"ingest.source": "table"},
}
GATES: dict[str, dict[str, Any]] = {
    AS_CONFIGURED: {},
    "strict": {"gate.confidence": 0.99},
    "lenient": {"gate.confidence": 0.9},
}
PROMOTIONS = ("auto", "manual", "never")
FIELDS = ("source", "tail_share", "gate", "promotion", "note", "revision", "overrides")  # without a dot


def overrides(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes by key of params.yaml; fields override presets, and `overrides` overrides both."""
    form = {field: value for field, value in form.items() if value not in (None, "", [])}
    if unknown := sorted(key for key in form if key not in FIELDS and "." not in key):
        raise ValueError(f"unknown field {', '.join(unknown)}; expected {', '.join(FIELDS)}, or keys as train.seed")
    changes = dict(choice(form, "source", SOURCES)) | choice(form, "gate", GATES)
    if (share := form.get("tail_share")) is not None:
        if not isinstance(share, int | float) or not 0 < share < 1:
            raise ValueError(f"tail_share is {share!r}, expected a number between 0 and 1")
        changes["split.head"] = round(1 - share, 12)
    changes |= {key: value for key, value in form.items() if "." in key}
    if form.get("ingest.path") is not None and form.get("ingest.url") is None:
        changes["ingest.url"] = None
    return changes | flat(form.get("overrides") or {})


def choice(form: Mapping[str, Any], field: str, presets: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    chosen = form.get(field) or AS_CONFIGURED
    if chosen not in presets:
        raise ValueError(f"{field} is {chosen!r}, expected one of {', '.join(presets)}")
    return presets[chosen]


def applied(text: str, changes: Mapping[str, Any]) -> str:
    """Return params.yaml with some values replaced and comments kept; raises ValueError for an unknown key."""
    yaml = YAML()
    yaml.width = 1 << 16  # otherwise long lines would be folded
    document = yaml.load(text)
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = document
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if not isinstance(node, dict) or (last not in node and not isinstance(value, dict)):
            raise ValueError(f"params.yaml has no key {key} to set to {value!r}; check its spelling")
        node[last] = value
    stream = StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
