"""Tasks of the DAG `approve_promotion`: describe a candidate, unless nobody has to decide; record the answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipelines.orchestration.run_tasks import table
from pipelines.registry import version_files
from pipelines.release import release
from pipelines.runtime.console import say
from pipelines.workspace import git, runs

Result = dict[str, Any]


def describe(run_id: str, by_hand: bool) -> Result:
    """Return the verdict of a run as Markdown, for its approval, or `skip` and why nobody has to decide any more.

    by_hand: a person asks, who may decide again. Raises ValueError if the gate did not let the candidate through.
    """
    run = runs.named(run_id)
    if run.tip() is None and not by_hand:
        return {"skip": f"{run.ref} no longer exists: the candidate was discarded"}
    verdict = run.verdict()
    if verdict["verdict"] != "PROMOTE":
        raise ValueError(
            f"the run {run_id!r} has the verdict {verdict['verdict']}, not PROMOTE: {verdict['reason'].rstrip('.')}; "
            "only a candidate with PROMOTE can be approved"
        )
    if (reason := decided_by_registry(verdict)) or (not by_hand and (reason := decided_by_person(run))):
        return {"skip": reason}
    return {"run_id": run_id, "reason": verdict["reason"], "body": "\n".join(table(run_id, verdict))}


def decided_by_registry(verdict: Mapping[str, Any]) -> str | None:
    """Return a sentence if the candidate was promoted, or another version since it was judged; else None."""
    with release.registry() as current:
        for version in current.versions.values():
            released = version_files.document(version.name, version.commit)
            if released["digests"]["model"] == verdict["digests"]["model"]:
                return f"the candidate was promoted: it is {version.name}"
        serving, champion = current.serving, verdict["champion"]
        if (serving.commit if serving else None) != champion["commit"]:
            return (
                f"the candidate was overtaken: it was compared with {champion['version'] or 'no champion'}, and "
                f"{serving.name if serving else 'no version'} serves now; trigger train_recommender to compare again"
            )
    return None


def decided_by_person(run: runs.Run) -> str | None:
    """Return a sentence if a person has answered the question about the verdict that the run has now; else None."""
    found, verdict = git.read_files([f"{run.prepared()}:{path}" for path in (runs.DECISION, runs.VERDICT)])
    if found is None or verdict is None:
        return None
    decision = json.loads(found)
    if decision.get("verdict_sha256") != hashlib.sha256(verdict).hexdigest():
        return None
    why = f": {decision['why']}" if decision["why"] else ""
    text = f"{decision['by']} has decided {decision['decision']}{why}"
    return f"{text}; trigger approve_promotion by hand to decide again"


def record(run_id: str, answer: Mapping[str, Any] | None) -> Result:
    """Record the decision on a run's candidate, its author and reason under the run's ref; answer: from Airflow."""
    if answer is None:
        return {"skip": "there is no answer"}
    user = answer["responded_by_user"] or {}
    kept = {
        "decision": answer["chosen_options"][0],
        "by": user.get("name") or user.get("id") or "unknown",
        "why": (answer["params_input"] or {}).get("reason"),
        "at": answer["responded_at"],
    }
    text = f"{kept['decision']} by {kept['by']}: {kept['why'] or 'no reason given'}"

    def decision(tip: str) -> dict[str, bytes]:
        (verdict,) = git.read_files([f"{tip}:{runs.VERDICT}"])
        judged = {} if verdict is None else {"verdict_sha256": hashlib.sha256(verdict).hexdigest()}
        return {runs.DECISION: json.dumps(kept | judged, indent=2, sort_keys=True, ensure_ascii=False).encode()}

    runs.named(run_id).add(decision, text)
    say("decision", text)
    return kept
