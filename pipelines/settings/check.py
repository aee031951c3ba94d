"""Check of all of params.yaml before the first stage runs, so that no training is lost to a later error."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from models.evaluation import metrics
from models.gate import rules
from pipelines.settings.document import FILE, SECTIONS, Section, load
from pipelines.settings.evaluate import Evaluate
from pipelines.settings.gate import Gate
from pipelines.settings.ingest import Ingest

CLASSES: tuple[type[Section], ...] = tuple(
    getattr(import_module(f"pipelines.settings.{name}"), name.capitalize()) for name in SECTIONS
)


def check(path: Path = FILE, *, exists: Callable[[str], bool] = lambda path: Path(path).exists()) -> None:
    """Read every section and check dependencies between them; raises ValueError or FileNotFoundError.

    exists: whether there is a source at a path, for settings of another folder than the current one.
    """
    for section in CLASSES:
        load(section, path)
    ks = load(Evaluate, path).k
    policy = load(Gate, path).rules
    for rule in policy:
        if metrics.look_up(rule.metric)[2] not in ks:
            raise ValueError(f"gate.rules: {rule.name!r} bounds {rule.metric}, but evaluate.k is {ks}; add its k there")
    rules.check_bounds(policy)
    source = load(Ingest, path).path
    if not exists(source):  # DVC, which tracks it, would report just "No such file"
        raise FileNotFoundError(f"ingest.path is {source}, which does not exist; correct it, or put your files there")
