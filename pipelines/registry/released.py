"""Check of a release commit against itself: the model that it would serve was judged, and the verdict was PROMOTE.

Only records that every release has ever had are required, so that old versions can serve and be rolled back to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.artifacts.recipe import OUTPUTS, UNJUDGED, of_values
from pipelines.registry import version_files
from pipelines.registry.digests import differing
from pipelines.workspace import git

Record = Mapping[str, Any]


def check(version: str, commit: str) -> None:
    """Raise ValueError if a version must not serve."""
    try:
        problem = next(problems(version, commit), None)
    except (KeyError, TypeError, AttributeError, YAMLError) as error:  # not written by a promotion
        problem = f"its files were not written by a promotion ({type(error).__name__} {error})"
    if problem is not None:
        raise ValueError(
            f"{version} must not serve: {problem} (commit {commit[:12]}); serve another version with "
            "`longtail rollback VERSION`, or promote a model that was judged unchanged"
        )


def problems(version: str, commit: str) -> Iterator[str]:
    """Yield the differences between a version and its verdict."""
    record, verdict, bento = (
        version_files.document(version, commit, path)
        for path in (version_files.RECORD, version_files.VERDICT, version_files.BENTO)
    )
    if verdict["verdict"] != "PROMOTE":
        yield f"its verdict is {verdict['verdict']}, not PROMOTE"
    if not bento["built"]:
        yield "it has no Bento"
    elif bento["verdict_sha256"] != hashlib.sha256(git.read_file(commit, version_files.VERDICT)).hexdigest():
        yield "its Bento was built for another verdict"
    for what, digests in {
        "its Bento was built from": bento.get("digests", {}),
        "it records": record["digests"],
    }.items():
        if changed := differing(verdict["digests"], digests):
            yield f"{what} another {' and '.join(changed)} than the judged one"
    model = verdict["digests"]["model"]
    if record["files"].get(version_files.MODEL.as_posix(), model) != model:
        yield "its model is not the one that was judged"
    yield from of_lock(yaml(commit, "dvc.lock"), yaml(commit, "dvc.yaml"), yaml(commit, "params.yaml"))


def of_lock(lock: Record, graph: Record, params: Record) -> Iterator[str]:
    """Yield stages of dvc.lock that did not run on each other's outputs, or with other settings than params.yaml."""
    stages: Record = lock.get("stages") or {}
    if missing := [name for name, stage in graph["stages"].items() if "cmd" in stage and name not in stages]:
        yield f"dvc.lock has no run of {' and '.join(missing)}"
    read: dict[str, tuple[str, str]] = {}
    for name, stage in stages.items():
        for key, values in stage.get("params", {}).get("params.yaml", {}).items():
            if key.split(".")[0] not in UNJUDGED and of_values(values) != of_values(value(params, key)):
                yield f"{name} ran with other settings than params.yaml has in {key}"
        for dep in stage.get("deps", []):
            path, digest = dep["path"], dep.get("md5") or dep.get("checksum") or dep.get("etag")
            other, known = read.setdefault(path, (name, digest))
            if path.startswith(OUTPUTS) and known != digest:
                yield f"{name} ran on another {path} than {other}"


def value(params: Record, key: str) -> Any:
    """Return the value of a dotted key; None if it is missing."""
    found: Any = params
    for name in key.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def yaml(commit: str, path: str) -> dict[str, Any]:
    try:
        content = git.read_file(commit, path)
    except git.GitError:
        return {"stages": {}}
    loaded: dict[str, Any] = YAML(typ="safe").load(content) or {}
    return loaded
