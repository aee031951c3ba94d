"""data/gate: verdict.json (PROMOTE, HOLD or REJECT, with a reason per rule), summary.json, report.html and report.md.

A rejected candidate is a result, not an error: the stage succeeds whatever the verdict is.

The stage has one effect beside its files: it enters the judgement in the ledger `refs/longtail/ledger`, and in that of
`release.remote` if it is set. The level of the judgement depends on the entries of the ledger. The same candidate again
has the same entry, number and level. If DVC restores the files from its cache, the stage does not run and enters
nothing: promote then requires a forced run of this stage, unless the entry exists from the first time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.evaluation.metric import Catalogue
from pipelines.artifacts import model_file, outputs, per_user, tables
from pipelines.artifacts.per_user_check import check_sums
from pipelines.gate import attempts, verdict
from pipelines.gate.report import attempts as report_attempts
from pipelines.gate.report import data as report_data
from pipelines.gate.report import example_users, text_report
from pipelines.gate.report import page as report_page
from pipelines.gate.report.content import Content
from pipelines.registry import chain, digests
from pipelines.registry import changes as registry_changes
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.document import read as read_settings
from pipelines.settings.gate import Gate

STAGE = "gate"
CURVES = ("deciles.csv", "exposure.csv", "tradeoff.csv", "slices.csv")
Record = Mapping[str, Any]


def main() -> None:
    params = load(Gate)
    with outputs.stage(STAGE) as stage:
        saved = verdict.saved(stage.input)
        metrics = saved.metrics
        champion = outputs.read_json(stage.input("champion", "champion.json"))
        holdout = outputs.read_json(stage.input("split", "holdout.json"))
        _, provenance = model_file.read(stage.input("train", "model.safetensors"))
        check_lineage(metrics, holdout, provenance)
        items = tables.read(stage.input("split", "items.parquet"))
        popularity, is_tail, is_cold = (items[name].to_numpy() for name in ("popularity", "is_tail", "is_cold"))
        check_sums(saved.evaluations, metrics, Catalogue(popularity, is_tail, is_cold, holdout["n_users"]))
        for name in digests.TABLES:
            stage.input("ingest", name)
        verdict.check_champion(saved, champion)
        # after the checks above, whose errors are more specific, and before the ledger, which counts judgements
        chain.check_before(STAGE)
        record, history = attempts.judge(params, saved, champion, stage.input)
        outputs.write_json(stage.output("verdict.json"), record)
        outputs.write_json(stage.output("summary.json"), verdict.summary(record))
        curves = {name: tables.read_csv(stage.input("evaluate", name)) for name in CURVES}
        curves["deciles.csv"] = wide(curves["deciles.csv"], "decile", "recall")
        curves["exposure.csv"] = wide(curves["exposure.csv"], "share_of_items", "share_of_lists")
        curves["pareto.csv"] = tables.read_csv(stage.input("train", "pareto.csv"))
        user_idx = per_user.users(stage.input("evaluate", "per_user.parquet"))
        train, test = (tables.read(stage.input("split", f"{part}.parquet")) for part in ("train", "test"))
        content = Content(
            verdict=record,
            judged_at=history.mine.at if history.mine else None,
            models=metrics["models"],
            holdout=holdout,
            data=report_data.read(
                outputs.read_json(stage.input("ingest", "summary.json")),
                outputs.read_json(stage.input("validate", "report.json")),
                read_settings()["ingest"],
            ),
            curves=curves,
            examples=example_users.choose(saved.evaluations, user_idx, train, test, items),
            changes=registry_changes.since(champion, holdout),
            attempts=report_attempts.section(record, holdout, history),
        )
        report_page.write(stage.output("report.html"), content)
        stage.output("report.md").write_text(text_report.markdown(content), "utf-8")
    say(STAGE, f"{record['verdict']}: {record['reason']} The table is in data/gate/report.md.")


def wide(columns: Mapping[str, Sequence[str]], x: str, y: str) -> dict[str, list[str]]:
    """Pivot a long table: a row per `x` and a column per model, empty if the model has no `y`."""
    cells = dict(zip(zip(columns["model"], columns[x], strict=True), columns[y], strict=True))
    rows, models = list(dict.fromkeys(columns[x])), dict.fromkeys(columns["model"])
    return {x: rows} | {model: [cells.get((model, row), "") for row in rows] for model in models}


def check_lineage(metrics: Record, holdout: Record, provenance: Record) -> None:
    """Raise ValueError if metrics, model and split are of different tails or holdouts.

    That is an error, not a verdict on the candidate: nothing is written.
    """
    # a model file records its tail but not the holdout: it must not change with the test set
    for key, name, source, stage in (
        ("tail_sha256", "metrics", metrics, "evaluate"),
        ("holdout_sha256", "metrics", metrics, "evaluate"),
        ("tail_sha256", "the model", provenance, "train"),
    ):
        if source.get(key) != holdout[key]:
            raise ValueError(
                f"{key} of {name} is {source.get(key)}, that of the split is {holdout[key]}: figures of different "
                f"holdouts or tails are never compared; run `dvc repro {stage}`"
            )
