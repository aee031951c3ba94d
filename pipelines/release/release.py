"""Promote and roll back: the two actions that change the serving version.

Both are compare-and-set: under a lock between the worktrees of this machine, and on a remote by one atomic push that
fails if any of the new tags exists there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.artifacts import best_releases
from pipelines.gate import attempts
from pipelines.gate import verdict as verdicts
from pipelines.registry import chain, released, tags, version_files
from pipelines.registry.champion import champion_of
from pipelines.registry.tags import Registry, Version
from pipelines.release import candidate
from pipelines.runtime.console import say
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.release import Release
from pipelines.workspace import git

BESTS = ("best", "absent", "seen")  # in champion.json: compared separately, or found by the stage


class RolledBackError(ValueError):
    """The model was rolled back; it is promoted again only on request."""


class OvertakenError(ValueError):
    """The serving version is no longer the one that the candidate was compared with."""


@dataclass(frozen=True)
class Outcome:
    """The serving version after an action, a flag if it is new, and a sentence about it."""

    version: str
    changed: bool
    text: str


def promote(*, again: bool = False, why: str | None = None, run: Mapping[str, Any] | None = None) -> Outcome:
    """Make the judged candidate the next version and let it serve; raises ValueError if that is not allowed.

    why: who approved it, or the reason, for the tag's message; run: id and note of the training run, for the record.
    """
    with registry() as current:
        verdict = candidate.judged()
        bento = candidate.packaged(verdict)
        serving = current.serving
        if serving is not None and (text := serves_already(serving, bento, again=again)):
            return Outcome(serving.name, changed=False, text=text)
        compare(verdict, current)
        if not again:
            refuse_rolled_back(current, verdict)
        verdicts.decide_again(verdict)
        attempts.confirm(verdict)
        if changed := chain.changed_sources():
            say("longtail", f"{chain.listed(changed)}; the candidate was judged on the data that ingest read before")
        version = current.next_version()
        commit = candidate.release_commit(version, verdict, current, run)
        candidate.keep_data(version, commit)
        released.check(version, commit)
        replaced = f"in place of {serving.name}" if serving else "as the first version"
        assign(current, version, commit, described(f"promote {version} {replaced}", why), register=True)
    return Outcome(version, changed=True, text=f"{version} serves now, {replaced}")


def rollback(name: str | None = None, *, why: str | None = None) -> Outcome:
    """Let an earlier version serve again, by default the predecessor of the serving one; why: for the tag's message."""
    with registry() as current:
        serving = current.serving
        if serving is None:
            raise ValueError("no version serves yet, so there is nothing to roll back; run `longtail promote` first")
        target = current.version(name or replaced_by(serving))
        if target == serving:
            raise ValueError(f"{target.name} already serves; choose another of {', '.join(current.versions)}")
        released.check(target.name, target.commit)
        version_files.archive(target.name, target.commit)  # fail early if that version cannot serve
        message = described(f"rollback from {serving.name} to {target.name}", why)
        assign(current, target.name, target.commit, message, register=False)
    return Outcome(target.name, changed=True, text=f"{target.name} serves again, in place of {serving.name}")


def described(action: str, why: str | None) -> str:
    """Return the message of a tag: one line, since `longtail status` and GTO show the first."""
    return f"{action}, {' '.join(why.split())[:300]}" if why and why.strip() else action


def serves_already(serving: Version, bento: Mapping[str, Any], *, again: bool) -> str | None:
    """Return a sentence if the serving version has this model and needs no new release; else None."""
    released = version_files.document(serving.name, serving.commit, version_files.BENTO)
    if released["digests"]["model"] != bento["digests"]["model"]:
        return None
    if released["files"] == bento["files"]:
        return f"{serving.name} already serves this model"
    hint = "its Bento has changed; `longtail promote --again` releases the new one"
    return None if again else f"{serving.name} already serves this model; {hint}"


@contextmanager
def registry() -> Iterator[Registry]:
    """Yield the registry, up to date with the remote, if any, under the lock of all worktrees."""
    champion, remote = load(Champion), load(Release).remote
    with git.lock("longtail-release"):
        if remote is not None:
            tags.fetch(champion, remote)
        yield tags.read(champion)


def compare(verdict: Mapping[str, Any], current: Registry) -> None:
    """Raise unless the verdict's champion and best releases are those of now (the compare of compare-and-set)."""
    champion = champion_of(current, verdict["digests"]["model"])
    if verdict["champion"]["commit"] != champion["commit"]:
        raise OvertakenError(
            f"the candidate was compared with {verdict['champion']['version'] or 'no champion'}, but "
            f"the champion is {champion['version'] or 'none'} now; run `dvc repro` to compare with that one"
        )
    if other := [name for name in champion if name not in BESTS and champion[name] != verdict["champion"].get(name)]:
        raise ValueError(
            f"{' and '.join(other)} of the champion in {verdicts.PATH} are not those of {champion['version']}; "
            "run `dvc repro`"
        )
    if best_releases.models(verdict["champion"]) != best_releases.models(champion):
        raise OvertakenError(
            f"the candidate was compared with the best release {best_releases.words(verdict['champion']) or 'none'}, "
            f"which is {best_releases.words(champion) or 'none'} now; run `dvc repro` to compare with that one"
        )
    if champion["best"] != verdict["champion"].get("best"):
        raise ValueError(
            f"the best releases in {verdicts.PATH} are not those that led to {champion['version']}; run `dvc repro`"
        )


def refuse_rolled_back(current: Registry, verdict: Mapping[str, Any]) -> None:
    """Raise RolledBackError for the model of a version that was rolled back and not promoted again since."""
    if not current.rolled_back:
        return
    models = {v.name: version_files.document(v.name, v.commit)["digests"]["model"] for v in current.versions.values()}
    same = [name for name, model in models.items() if model == verdict["digests"]["model"]]
    if same and same[-1] in current.rolled_back:
        raise RolledBackError(
            f"this model is {same[-1]}, which was rolled back; run `longtail promote --again` to promote it anyway"
        )


def replaced_by(serving: Version) -> str:
    """Return the name of the version that served before `serving` was promoted."""
    before: str | None = version_files.document(serving.name, serving.commit)["replaced"]
    if before is None:
        raise ValueError(f"{serving.name} has no predecessor, so there is no version to roll back to")
    return before


def assign(current: Registry, version: str, commit: str, message: str, *, register: bool) -> None:
    """Create the tags (and the side ref of a new version) atomically, here and on the remote."""
    # GTO orders events by date, in whole seconds
    remote, signed = load(Release).remote, load(Release).signed
    timestamp = max([int(time.time()), *(int(event.created.timestamp()) + 1 for event in current.assignments)])
    refs = {}
    if register:
        tag = current.version_tag(version)
        refs[f"{tags.SIDE_REFS}/{version}"] = commit
        refs[f"refs/tags/{tag}"] = git.make_tag(tag, commit, message=message, time=timestamp, signed=signed)
    tag = current.assignment_tag()
    refs[f"refs/tags/{tag}"] = git.make_tag(tag, commit, message=message, time=timestamp, signed=signed)
    try:
        tags.publish(refs, remote)
    except git.GitError as error:
        raise OvertakenError(
            f"another promotion was faster, or {remote or 'Git'} failed ({error}); nothing changed, run `dvc repro`"
        ) from None
