"""Texts of `longtail status` and `longtail lineage`: the serving version, and the origin of a version."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ruamel.yaml import YAML

from pipelines.artifacts import best_releases
from pipelines.gate import attempts
from pipelines.gate import verdict as verdicts
from pipelines.gate.report import attempts as report_attempts
from pipelines.registry import released, tags, version_files
from pipelines.registry.digests import differing, digests
from pipelines.registry.tags import Registry, Version
from pipelines.release import candidate as release_candidate
from pipelines.release import kept
from pipelines.settings.champion import Champion
from pipelines.settings.document import flat, load
from pipelines.workspace import git, runs

LABEL = 10  # characters


def status() -> Iterator[str]:
    """Yield lines: the serving version, the candidate's verdict and its validity, all versions."""
    registry = tags.read(load(Champion))
    serving = registry.serving
    if serving is None:
        yield line(
            "serving", f"none yet in {registry.environment}; `longtail run` trains and promotes the first version"
        )
    else:
        yield line("serving", f"{serving.name} in {registry.environment}, {since(registry, serving)}")
        if (origin := trained(serving)) is not None:
            yield line("", origin)
        try:
            released.check(serving.name, serving.commit)
        except ValueError as error:
            yield line("", f"`longtail serve` rejects it: {error}")
    yield from candidate(serving)
    yield from waiting(serving)
    for version in reversed(list(registry.versions.values())):
        model = version_files.document(version.name, version.commit)["digests"]["model"]
        marks = [registry.environment] if version == serving else []
        marks += ["rolled back"] if version.name in registry.rolled_back else []
        yield line(
            "version", f"{version.name}  {date(version.created)}  model {model[:12]}  {', '.join(marks)}".rstrip()
        )


def candidate(serving: Version | None) -> Iterator[str]:
    if not verdicts.PATH.is_file():
        yield line("candidate", "none yet; `longtail run` trains and judges one")
        return
    try:
        verdict = verdicts.read()
    except (FileNotFoundError, ValueError) as error:
        yield line("candidate", f"unknown: {error}")
        return
    yield line("candidate", f"{verdict['verdict']}: {verdict['reason']}")
    yield line("", report_attempts.sentences(verdict)[0])
    if (old := stale(verdict)) is not None:
        yield line("", old)
    elif (
        serving
        and version_files.document(serving.name, serving.commit)["digests"]["model"] == verdict["digests"]["model"]
    ):
        yield line("", "the same model serves")
    elif verdict["verdict"] == "PROMOTE":
        try:
            release_candidate.packaged(release_candidate.judged())
            verdicts.decide_again(verdict)
            attempts.confirm(verdict, shared=False)
        except (FileNotFoundError, ValueError) as error:
            yield line("", f"`longtail promote` rejects it: {error}")
        else:
            yield line("", "run `longtail promote` to serve it")


def waiting(serving: Version | None) -> Iterator[str]:
    """Yield lines about candidates of Airflow's runs that may still be promoted."""
    paths = (runs.RECORD, runs.VERDICT)
    for commit in kept.open_runs().values():
        run, verdict = (json.loads(found or b"{}") for found in git.read_files([f"{commit}:{path}" for path in paths]))
        if verdict and verdict["champion"]["commit"] == (serving.commit if serving else None):
            told = f"the run {run['run_id']} has the verdict PROMOTE; trigger approve_promotion with it to decide"
            yield line("waiting", told)


def stale(verdict: Mapping[str, Any]) -> str | None:
    """Return why a verdict is out of date with the working tree; None if it is current."""
    try:
        changed = differing(verdict["digests"], digests())
    except (FileNotFoundError, ValueError) as error:
        return f"stale: {error}"
    return f"stale: {' and '.join(changed)} changed since the verdict; `dvc repro` judges again" if changed else None


def named(registry: Registry, name: str) -> Version:
    """Return a version by its name, or by the tag of its Bento, which is part of every answer."""
    if ":" not in name:
        return registry.version(name)
    for version in reversed(list(registry.versions.values())):
        if version_files.document(version.name, version.commit, version_files.BENTO)["tag"] == name:
            return version
    raise ValueError(f"no version has the Bento {name!r}; `longtail status` lists the versions")


def lineage(name: str | None = None) -> Iterator[str]:
    """Yield lines from a version (by default the serving one) back to its data, settings, code and verdict."""
    registry = tags.read(load(Champion))
    version = named(registry, name) if name else registry.serving
    if version is None:
        raise ValueError("no version serves yet, so there is no lineage; run `longtail promote` first")
    record = version_files.document(version.name, version.commit)
    verdict = version_files.document(version.name, version.commit, version_files.VERDICT)
    bento = version_files.document(version.name, version.commit, version_files.BENTO)
    archive = record["files"][version_files.archive_of(record).as_posix()]

    yield line(
        "version", f"{version.name} of {registry.artifact}, registered {date(version.created)} by {version.author}"
    )
    for event in registry.assignments:
        if event.version == version.name:
            verb = "removed from" if event.taken_back else "assigned to"
            about = f"{date(event.created)} by {event.author}: {event.message}"
            yield line("", f"{verb} {registry.environment} #{event.number}, {about}")
    if (origin := trained(version)) is not None:
        yield line("run", origin)
    yield from code(version)
    yield line("data", f"sha256 {record['digests']['data']}")
    for path, digest in data_hashes(version):
        yield line("", f"{path}  md5 {digest}")
    yield from settings(registry, version, record["replaced"])
    yield line("verdict", f"{verdict['verdict']}: {verdict['reason']}")
    for rule in verdict["rules"]:
        yield line("", f"{rule['decision'].replace('_', ' '):<16}{rule['name']}: {rule['reason']}")
    if best := best_releases.words(verdict["champion"]):
        yield line("best", f"compared with the best release: {best}")
    if "attempt" in verdict:
        for i, sentence in enumerate(report_attempts.sentences(verdict)):
            yield line("" if i else "attempts", sentence)
    else:
        yield line("attempts", "not recorded: the release is older than the ledger of judgements")
    yield line("holdout", f"split {record['digests']['split'][:12]}, tail {record['digests']['tail'][:12]}")
    yield line("model", f"sha256 {record['digests']['model']}")
    yield line("bento", f"{bento['tag']}, archive sha256 {archive}")
    if record["replaced"]:
        yield line("replaced", f"{record['replaced']}; `longtail lineage {record['replaced']}` shows its lineage")


def code(version: Version) -> Iterator[str]:
    parent = git.git("rev-parse", f"{version.commit}^")
    yield line("code", f"commit {parent}: {git.git('log', '-1', '--format=%s', parent)}")
    edited = git.git("diff", "--name-only", parent, version.commit, "--", ".", ":!release", ":!dvc.lock").splitlines()
    if edited:
        yield line("", f"with edits in {brief(edited)}: `git diff {parent[:12]} {version.commit[:12]}`")


def data_hashes(version: Version) -> Iterator[tuple[str, str]]:
    """Yield (path, md5) of the ingest stage's data inputs and outputs."""
    ingest = yaml(version, "dvc.lock").get("stages", {}).get("ingest", {})
    for entry in [*ingest.get("deps", []), *ingest.get("outs", [])]:
        if entry["path"].startswith("data/") or not entry["path"].endswith(".py"):
            yield entry["path"], entry.get("md5") or entry.get("checksum") or entry.get("etag") or "unknown"


def settings(registry: Registry, version: Version, replaced: str | None) -> Iterator[str]:
    """Yield lines with the changes of params.yaml since the previous version."""
    if replaced is None or replaced not in registry.versions:
        yield line("params", f"`git show {version.commit[:12]}:params.yaml`")
        return
    before, after = (flat(yaml(v, "params.yaml")) for v in (registry.versions[replaced], version))
    changes = [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    yield line("params", f"as of {replaced}" + (", but" if changes else ""))
    yield from (line("", change) for change in changes)


def yaml(version: Version, path: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(git.read_file(version.commit, path)) or {}
    return loaded


def line(label: str, text: str) -> str:
    return f"{label:<{LABEL}} {' '.join(text.split(chr(10)))}"


def brief(paths: list[str]) -> str:
    return ", ".join(paths[:4]) + (f" and {len(paths) - 4} more" if len(paths) > 4 else "")


def date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def since(registry: Registry, serving: Version) -> str:
    event = next(event for event in reversed(registry.assignments) if event.version == serving.name)
    return f"since {date(event.created)} by {event.author}: {event.message}"


def trained(version: Version) -> str | None:
    """Return a sentence about the run of Airflow that trained a version; None for another origin, or of early ones."""
    run = version_files.document(version.name, version.commit).get("run")
    if run is None:
        return None
    return f"trained by the run {run['id']}" + (f": {run['note']}" if run["note"] else "")
