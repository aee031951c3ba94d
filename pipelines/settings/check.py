"""Check of all of params.yaml before the first stage runs, so that no training is lost to a later error."""

from __future__ import annotations

from pathlib import Path

from models.evaluation import metrics
from models.gate import rules
from pipelines.settings.airflow import Airflow
from pipelines.settings.champion import Champion
from pipelines.settings.document import FILE, Section, load
from pipelines.settings.embed import Embed
from pipelines.settings.engine import Engine
from pipelines.settings.evaluate import Evaluate
from pipelines.settings.gate import Gate
from pipelines.settings.ingest import Ingest
from pipelines.settings.package import Package
from pipelines.settings.release import Release
from pipelines.settings.split import Split
from pipelines.settings.train import Train
from pipelines.settings.validate import Validate

CLASSES: tuple[type[Section], ...] = (
    *(Ingest, Validate, Split, Embed, Train, Champion, Evaluate, Gate, Package, Release, Airflow, Engine),
)


def check(path: Path = FILE) -> None:
    """Read every section and check dependencies between them; raises ValueError or FileNotFoundError."""
    for section in CLASSES:
        load(section, path)
    ks = load(Evaluate, path).k
    bounds = [rules.Rule(**rule.model_dump()) for rule in load(Gate, path).rules]
    for rule in bounds:
        if metrics.look_up(rule.metric)[2] not in ks:
            raise ValueError(f"gate.rules: {rule.name!r} bounds {rule.metric}, but evaluate.k is {ks}; add its k there")
    rules.check_bounds(bounds)
    source = load(Ingest, path).path
    if not Path(source).exists():  # DVC, which tracks it, would report just "No such file"
        raise FileNotFoundError(f"ingest.path is {source}, which does not exist; correct it, or put your files there")
