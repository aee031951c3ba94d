"""Decision of another policy on the judged candidate: from the saved values, at the level of its judgement.

No file is written. The ledger of judgements gets an entry, which is counted separately.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from pipelines.artifacts import outputs
from pipelines.artifacts.outputs import DATA
from pipelines.gate import attempts, verdict
from pipelines.gate.report import rules as report_rules
from pipelines.gate.report import text_report
from pipelines.gate.verdict import PATH
from pipelines.privacy.shown import markup
from pipelines.settings import document as settings_document
from pipelines.settings.document import SECTIONS
from pipelines.settings.gate import Gate

JUDGED = (  # inputs of the verdict
    DATA / "evaluate" / "metrics.json",
    DATA / "evaluate" / "per_user.parquet",
    DATA / "split" / "items.parquet",
)
COLUMNS = {column.name: column for column in report_rules.COLUMNS}
Record = Mapping[str, Any]


def decide(path: Path) -> tuple[Record, Record]:
    """Return the verdict as given, and the verdict of a file's policy on the same values.

    Raises ValueError if the saved values are not the judged ones, or the policy is not valid.
    """
    given = verdict.read()
    inputs = outputs.read_manifest(PATH.parent)["inputs"]
    if stale := [p.as_posix() for p in JUDGED if outputs.verify(p) != inputs.get(p.as_posix())]:
        raise ValueError(f"{' and '.join(stale)} changed after the verdict was given; run `dvc repro gate`")
    params, saved = read(path), verdict.saved(lambda stage, name: DATA / stage / name)
    try:
        other = verdict.record(params, saved, given["champion"], given["attempt"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    attempts.record_what_if(params, given, other)
    return given, other


def read(path: Path) -> Gate:
    """Read the policy of a file: a `gate` section, alone or in a whole params.yaml, or keys of one without the heading.

    Missing keys are taken from params.yaml.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a YAML file with `rules:` or a `gate:` section")
    document = settings_document.document(path)
    if "gate" in document:
        for name in document.keys() - set(SECTIONS):
            raise ValueError(f"{path}: unknown section {name!r}; the sections are {', '.join(SECTIONS)}")
        document = document["gate"]
    if not isinstance(document, dict) or not document:
        raise ValueError(f"{path} has no policy, expected some of {', '.join(Gate.model_fields)}; add a `gate` section")
    try:
        return Gate.model_validate(settings_document.read()["gate"] | document)
    except ValidationError as error:
        raise ValueError(settings_document.explain(error, "gate", path)) from None


def print_both(given: Record, other: Record, console: Console | None = None) -> None:
    """Print both decisions of every rule side by side, and both verdicts with their reasons."""
    console = console or Console()
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("rule")
    for name in (COLUMNS["gain"].heading, "as judged", "what if"):
        table.add_column(name, justify="right", no_wrap=True)
    rules = [{key(rule): rule for rule in verdict["rules"]} for verdict in (given, other)]
    for each in {**rules[0], **rules[1]}:
        before, after = (some.get(each) for some in rules)
        known = after or before or {}
        table.add_row(
            *(text_report.terminal_cell(COLUMNS[name], known) for name in ("rule", "gain")),
            *(
                "–" if rule is None else text_report.terminal_cell(COLUMNS["decision"], rule)
                for rule in (before, after)
            ),
        )
    console.print(table)
    for name, some in (("as judged", given), ("what if", other)):
        colour = text_report.COLOURS[some["verdict"]]
        console.print(f"{name:<10} [bold {colour}]{some['verdict']}[/]  {markup(some['reason'])}")
        if asked := report_rules.to_decide(some):
            console.print(markup(asked))


def key(rule: Record) -> tuple[Any, ...]:
    """Return the identity of a rule, by which rules of two policies form one row; their bounds may differ."""
    return tuple(rule[name] for name in ("name", "metric", "slice", "reference"))


def decided(rule: Record | None) -> str:
    """Return decision and bound; a dash if the policy has no such rule."""
    return "–" if rule is None else text_report.terminal_cell(COLUMNS["decision"], rule)
