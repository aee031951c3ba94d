"""The candidate in the working tree: check it against its verdict, and make a release commit of it.

A release commit has the judged working tree, with the verdict and the Bento's description in `release/`. Git's plumbing
commands make it, so the user's branch, index and files do not change.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import outputs
from pipelines.artifacts.outputs import DATA
from pipelines.bentos import sources
from pipelines.gate import verdict as verdicts
from pipelines.gate.verdict import PATH as VERDICT
from pipelines.registry import chain, changes, version_files
from pipelines.registry.digests import differing, digests
from pipelines.registry.tags import Registry
from pipelines.runtime.console import TemporaryError, say
from pipelines.workspace import git
from pipelines.workspace.snapshot import CODE, DESCRIPTION

BENTO = DATA / "package" / "bento.json"


def judged() -> dict[str, Any]:
    """Return the verdict; raises ValueError unless it is PROMOTE and of exactly this working tree."""
    verdict = verdicts.read()
    if verdict["verdict"] != "PROMOTE":
        raise ValueError(
            f"the verdict is {verdict['verdict']}, not PROMOTE: {verdict['reason'].rstrip('.')}; "
            f"read {VERDICT.with_name('report.html')}, change data or params.yaml, then `dvc repro`"
        )
    if changed := differing(verdict["digests"], digests()):
        raise ValueError(f"{' and '.join(changed)} changed after the verdict was given; run `dvc repro`")
    verdicts.check_inputs()
    return verdict


def packaged(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return bento.json of the Bento that was built for this verdict, after verifying its archive."""
    outputs.verify(BENTO)
    bento: dict[str, Any] = outputs.read_json(BENTO)
    if not bento["built"]:
        raise ValueError(f"this model has no Bento: {bento['reason']}; run `dvc repro`")
    if bento["verdict_sha256"] != outputs.sha256(VERDICT):
        raise ValueError(f"{BENTO} belongs to another verdict; run `dvc repro`")
    if changed := differing(verdict["digests"], bento["digests"]):
        raise ValueError(f"{BENTO} differs in {' and '.join(changed)} from the judged model; run `dvc repro`")
    if changed := differing(bento.get("sources", {}), sources.digests()):
        more = f" and {len(changed) - 1} more" * (len(changed) > 1)
        raise ValueError(f"{changed[0]}{more} changed after the Bento was built; run `dvc repro package`")
    if changed := other_commands():
        raise ValueError(f"dvc.yaml has a changed cmd of {' and '.join(changed)}, not yet run; run `dvc repro package`")
    outputs.verify(version_files.ARCHIVE)
    chain.check_candidate()
    return bento


def other_commands() -> list[str]:
    """Return the stages with a command in dvc.yaml that differs from the one in dvc.lock."""
    from dvc.repo import Repo  # takes half a second

    with Repo() as repo:
        return [stage.addressing for stage in repo.index.stages if getattr(stage, "cmd_changed", False)]


def release_commit(
    version: str, verdict: Mapping[str, Any], current: Registry, run: Mapping[str, Any] | None = None
) -> str:
    """Commit the working tree with the verdict; no ref points to the commit yet.

    run: id and note of the run that trained it; None outside Airflow.
    """
    if not Path("dvc.lock").is_file():
        raise FileNotFoundError("dvc.lock, the record of this model's data, is missing; run `dvc repro`")
    head = git.head()
    record = {
        "version": version,
        "replaced": current.serving.name if current.serving else None,
        "run": run,
        "digests": verdict["digests"],
        "split": split(),
        "sizes": sizes(),
        "source": description()["source"],
        "files": {path.as_posix(): outputs.verify(path) for path in version_files.FILES},
        "manifests": {path.as_posix(): outputs.sha256(path) for path in chain.manifests()},
    }
    files = {
        version_files.RECORD: json.dumps(record, indent=2, sort_keys=True).encode(),
        version_files.VERDICT: VERDICT.read_bytes(),
        version_files.BENTO: BENTO.read_bytes(),
    }
    tree = git.snapshot(always=DESCRIPTION, folders=CODE, files=files)
    return git.commit_tree(tree, parent=head, message=f"{current.artifact} {version}\n\n{verdict['reason']}")


def split() -> dict[str, Any]:
    """Return how the data was split, so that a later evaluation can tell if this model has seen its holdout."""
    found = description()
    names = ("strategy", "cutoffs", "seed", "test", "cold_items", "user_space")
    return {name: found[name] for name in names}


def sizes() -> dict[str, int]:
    """Return the size of the training data, for the gate and the report of the next candidate."""
    found = description()
    return {name: found[name] for name in changes.SIZES if name in found}


def description() -> dict[str, Any]:
    """Return holdout.json, verified."""
    path = DATA / "split" / "holdout.json"
    outputs.verify(path)
    found: dict[str, Any] = outputs.read_json(path)
    return found


def keep_data(version: str, commit: str) -> None:
    """Check that DVC has the version's files at its commit, and push them to the remote, if any.

    Called before the version is registered, so that every registered version has its data.
    """
    record = version_files.document(version, commit)
    found = version_files.sha256_at(commit, [Path(path) for path in record["files"] | record["manifests"]])
    for expected in (record["files"], record["manifests"]):
        if stale := [path for path in expected if found[path] != expected[path]]:
            raise ValueError(f"dvc.lock does not match {' and '.join(stale)}; run `dvc repro`")
    if (remote := version_files.default_remote()) is not None:
        say("longtail", f"pushing data to the DVC remote {remote}")
        done = subprocess.run([sys.executable, "-m", "dvc", "push"], capture_output=True, text=True, check=False)
        if done.returncode != 0:  # its messages contain the remote's address with credentials
            last = " ".join(done.stderr.split())[-400:]
            raise TemporaryError(f"`dvc push` to {remote} failed, nothing was promoted: {last}; fix that remote")
