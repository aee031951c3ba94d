"""Tasks of the DAG `approve_promotion`: describe a candidate, unless nobody has to decide; record the answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pipelines.artifacts import best_releases
from pipelines.gate.report import attempts, rules
from pipelines.privacy import markdown
from pipelines.registry import version_files
from pipelines.registry.tags import Registry
from pipelines.release import release
from pipelines.runtime.console import say
from pipelines.workspace import git, runs

TRAINING = "train_recommender"
Result = dict[str, Any]


def describe(run_id: str, by_hand: bool) -> Result:
    """Return the question about a run's candidate as Markdown, or `skip` and why nobody has to decide any more.

    by_hand: a person asks, who may decide again. Raises ValueError if the gate did not let the candidate through, or
    its outputs are lost.
    """
    run = runs.named(run_id)
    if (tip := run.tip()) is None:
        if not by_hand:
            return {"skip": f"{run.ref} no longer exists: the candidate was discarded"}
        raise ValueError(
            f"there is no training run {run_id!r}, or its candidate was discarded; expected the id of a run of "
            "train_recommender with the verdict PROMOTE"
        )
    verdict = run.verdict()
    if verdict["verdict"] != "PROMOTE":
        raise ValueError(
            f"the run {run_id!r} has the verdict {verdict['verdict']}, not PROMOTE: {verdict['reason'].rstrip('.')}; "
            "only a candidate with PROMOTE can be approved"
        )
    with release.registry() as current:
        if (reason := decided_by_registry(verdict, current)) or (not by_hand and (reason := decided_by_person(run))):
            return {"skip": reason}
    if missing := nowhere(tip):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ValueError(
            f"the candidate of {run_id!r} cannot be promoted: neither DVC's cache nor its remote has "
            f"{missing[0]}{more}, as after `dvc gc`; trigger train_recommender again"
        )
    body = "\n".join(question(run, verdict, current.next_version()))
    return {"run_id": run_id, "reason": verdict["reason"], "body": body}


def nowhere(commit: str) -> list[str]:
    """Return the outputs at a commit that DVC has lost."""
    from dvc.repo import Repo  # takes half a second

    from pipelines.workspace import dvc_errors, dvc_objects

    with dvc_errors.translated("describe", remote=True), Repo() as repo:
        return dvc_objects.nowhere(repo, commit)


def question(run: runs.Run, verdict: Mapping[str, Any], version: str) -> Iterator[str]:
    """Yield the lines of the question: what each answer does, the run's note, then the verdict."""
    champion = verdict["champion"]["version"]
    address = f"/dags/{TRAINING}/runs/{quote(run.run_id)}/plugin/gate-report"
    yield f"**Approve**: {version} serves, {f'in place of {champion}' if champion else 'as the first version'}. "
    yield f"**Reject**: {f'{champion} stays' if champion else 'nothing serves yet'}. [Gate report]({address})\n"
    if note := run.record().get("note"):
        yield f"Note of the run: {markdown.plain(note)}\n"
    yield from table(verdict)


def table(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a verdict in Markdown: the reason, what is lost, the rules, the attempts."""
    champion = verdict["champion"]["version"]
    best = f", best release: {which}" if (which := best_releases.words(verdict["champion"])) else ""
    yield f"**{verdict['verdict']}**: {markdown.plain(verdict['reason'])}\n"
    yield f"- Judged on {verdict['n_users']:,} users against {champion or 'no champion'}{best}."
    yield from (f"- {markdown.plain(text)}" for text in lost(verdict))
    yield ""
    yield from rules.markdown(verdict["rules"], spare=False)
    yield ""
    if "attempt" in verdict:
        yield from (f"- {markdown.plain(text)}" for text in attempts.sentences(verdict))


def lost(verdict: Mapping[str, Any]) -> Iterator[str]:
    """Yield sentences on the items, users and source of the champion's data that the candidate's data lack."""
    changes = verdict.get("changes") or []
    yield from (f"Since {verdict['champion']['version']}, {change['text']}." for change in changes)
    if not changes and verdict["champion"]["version"]:
        yield f"No item, user or source of {verdict['champion']['version']} is missing."


def decided_by_registry(verdict: Mapping[str, Any], current: Registry) -> str | None:
    """Return a sentence if the candidate was promoted, or another version since it was judged; else None."""
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


def decision_of(answer: Mapping[str, Any]) -> Result:
    """Return a person's decision, by whom, why and when; answer: from Airflow."""
    user = answer["responded_by_user"] or {}
    return {
        "decision": answer["chosen_options"][0],
        "by": user.get("name") or user.get("id") or "unknown",
        "why": (answer["params_input"] or {}).get("reason") or None,
        "at": answer["responded_at"],
    }


def record(run_id: str, answer: Mapping[str, Any] | None) -> Result:
    """Record the decision on a run's candidate, its author and reason under the run's ref; answer: from Airflow."""
    if answer is None:
        return {"skip": "there is no answer"}
    kept = decision_of(answer)
    text = f"{kept['decision']} by {kept['by']}: {kept['why'] or 'no reason given'}"

    def decision(tip: str) -> dict[str, bytes]:
        (verdict,) = git.read_files([f"{tip}:{runs.VERDICT}"])
        judged = {} if verdict is None else {"verdict_sha256": hashlib.sha256(verdict).hexdigest()}
        return {runs.DECISION: json.dumps(kept | judged, indent=2, sort_keys=True, ensure_ascii=False).encode()}

    runs.named(run_id).add(decision, text)
    say("decision", text)
    return kept
