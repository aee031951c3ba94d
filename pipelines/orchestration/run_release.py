"""Promotion of a run's model; if another version was promoted meanwhile, the model is judged again first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.artifacts import recipe
from pipelines.orchestration import approval_tasks, run_tasks
from pipelines.registry import tags, version_files
from pipelines.release import release
from pipelines.runtime.console import say
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import dvc_errors, dvc_stage, runs, worktree


def promote(run_id: str, attempt: int, *, judge_again: bool, answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Promote the model of a run and return the version, or `skip` with the reason why it may not serve any more.

    answer: of the person who approved it, from Airflow; judge_again: if another version was promoted meanwhile, compare
    with that version and decide by the new verdict.
    """
    run = runs.named(run_id)
    about = {"id": run_id, "note": run.record().get("note")}
    why = None if answer is None else approved(answer)
    with worktree.workspace(run, "promote", attempt) as made:
        if made or attempt > 1 or run.remote is not None:
            shared = run.remote is not None
            with dvc_errors.translated("promote", remote=shared), dvc_stage.Repo() as repo:
                dvc_stage.fetch(repo, list(recipe.stages()), shared=shared)
        while True:
            try:
                outcome = release.promote(why=why, run=about)
            except release.RolledBackError as error:
                return {"skip": str(error)}
            except release.OvertakenError as error:
                if not judge_again:
                    told = str(error).split("; run `dvc repro`")[0]
                    raise ValueError(f"{told}; trigger train_recommender to compare with that one") from None
                say("promote", f"{error}: judging again")
            else:
                say("promote", outcome.text)
                done = {"changed": outcome.changed, "run_id": run_id, "text": outcome.text}
                return {**described(outcome.version), **done}
            for name in recipe.since("champion"):
                result = run_tasks.reproduced(run, name)
                if result.get("verdict", "PROMOTE") != "PROMOTE":
                    return {"skip": f"{result['verdict']} against the version that serves now: {result['reason']}"}


def approved(answer: Mapping[str, Any]) -> str:
    decision = approval_tasks.decision_of(answer)
    return f"approved by {decision['by']}: {decision['why'] or 'no reason given'}"


def described(name: str) -> dict[str, Any]:
    """Return a version and its lineage, for the event of its promotion."""
    version = tags.read(load(Champion)).version(name)
    record = version_files.document(version.name, version.commit)
    bento = version_files.document(version.name, version.commit, version_files.BENTO)
    lineage = {"replaced": record["replaced"], "digests": record["digests"]}
    return {"version": name, "commit": version.commit, "bento": bento["tag"], **lineage}
