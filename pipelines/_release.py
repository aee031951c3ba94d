"""Promote and roll back: the two actions that change what serves.

A version is a commit of its own: the working tree as it was judged, with the verdict and the Bento's description in
`release/`, made by plumbing on refs/longtail/releases/<version>. The user's branch, index and files stay as they are.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import _artifacts as artifacts
from pipelines import _git, _registry, _released
from pipelines._artifacts import DATA
from pipelines._digests import differing, digests
from pipelines._params import Champion, Release, load
from pipelines._registry import Registry, Version
from pipelines._stage import say
from pipelines.champion import champion_of

DESCRIPTION = ("dvc.yaml", "dvc.lock", "params.yaml", ".dvc/config", ".dvcignore")  # what DVC reads at the commit
CODE = ("bento", "models", "pipelines")
COMMAND = "longtail"


class RolledBackError(ValueError):
    """The model was rolled back, and nobody has asked to promote it again."""


@dataclass(frozen=True)
class Outcome:
    """What serves after an action, whether that is new, and a sentence about it."""

    version: str
    changed: bool
    text: str


def promote(*, again: bool = False) -> Outcome:
    """Make the judged candidate the next version and let it serve; raises ValueError where it must not."""
    with registry() as current:
        verdict = judged()
        bento = packaged(verdict)
        if (serving := current.serving) is not None:
            released = _released.document(serving.commit, _released.BENTO)
            same_bento = released["files"] == bento["files"]
            if released["digests"]["model"] == bento["digests"]["model"] and (same_bento or not again):
                hint = (
                    "" if same_bento else "; its Bento has changed since, and `longtail promote --again` releases that"
                )
                return Outcome(serving.name, changed=False, text=f"{serving.name} already serves this model{hint}")
        compare(verdict, current)
        if not again:
            refuse_rolled_back(current, verdict)
        version = current.next_version()
        commit = release_commit(version, verdict, current)
        keep_data(commit)
        replaced = f"in place of {serving.name}" if serving else "as the first version"
        assign(current, version, commit, f"promote {version} {replaced}", register=True)
    return Outcome(version, changed=True, text=f"{version} serves now, {replaced}")


def rollback(name: str | None = None) -> Outcome:
    """Let an earlier version serve again: the one that the serving version replaced, or a named one."""
    with registry() as current:
        serving = current.serving
        if serving is None:
            raise ValueError("nothing serves yet, so there is nothing to roll back; `longtail promote` comes first")
        target = current.version(name or replaced_by(serving))
        if target == serving:
            raise ValueError(f"{target.name} serves already; name another of {', '.join(current.versions)}")
        _released.obtain(target.name, target.commit, _released.ARCHIVE)  # a version that cannot serve is no way back
        assign(current, target.name, target.commit, f"rollback from {serving.name} to {target.name}", register=False)
    return Outcome(target.name, changed=True, text=f"{target.name} serves again, in place of {serving.name}")


@contextmanager
def registry() -> Iterator[Registry]:
    """The registry, up to date with the remote where one is set, under the lock of all worktrees."""
    champion, remote = load(Champion), load(Release).remote
    with _git.lock("longtail-release"):
        if remote is not None:
            _registry.fetch(champion, remote)
        yield _registry.read(champion)


def judged() -> dict[str, Any]:
    """The verdict, which says PROMOTE of exactly what the working tree holds."""
    path = DATA / "gate" / "verdict.json"
    artifacts.verify(path)
    verdict: dict[str, Any] = artifacts.read_json(path)
    if verdict["verdict"] != "PROMOTE":
        raise ValueError(
            f"the verdict is {verdict['verdict']}, not PROMOTE: {verdict['reason']}; "
            f"read {path.with_name('report.html')}, change data or params.yaml, then `dvc repro`"
        )
    if changed := differing(verdict["digests"], digests()):
        raise ValueError(f"{' and '.join(changed)} changed after the verdict was given; run `dvc repro`")
    return verdict


def packaged(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """bento.json of the Bento that was built for this verdict, after its archive was verified."""
    path = DATA / "package" / "bento.json"
    artifacts.verify(path)
    bento: dict[str, Any] = artifacts.read_json(path)
    if not bento["built"]:
        raise ValueError(f"there is no Bento of this model: {bento['reason']}; run `dvc repro`")
    if bento["verdict_sha256"] != artifacts.sha256(DATA / "gate" / "verdict.json"):
        raise ValueError(f"{path} belongs to another verdict; run `dvc repro`")
    if changed := differing(verdict["digests"], bento["digests"]):
        raise ValueError(f"{path} was built from another {' and '.join(changed)} than was judged; run `dvc repro`")
    artifacts.verify(_released.ARCHIVE)
    return bento


def compare(verdict: Mapping[str, Any], current: Registry) -> None:
    """Compare and set: the verdict must name the champion that the candidate would be compared with now."""
    champion = champion_of(current, verdict["digests"]["model"])
    if verdict["champion"]["commit"] != champion["commit"]:
        raise ValueError(
            f"the candidate was compared with {verdict['champion']['version'] or 'no champion'}, but "
            f"{champion['version'] or 'none'} is the champion since; run `dvc repro` to compare with that one"
        )


def refuse_rolled_back(current: Registry, verdict: Mapping[str, Any]) -> None:
    """Refuse the model of a version that was rolled back, unless it has been promoted again since."""
    if not current.rolled_back:
        return
    models = {v.name: _released.document(v.commit)["digests"]["model"] for v in current.versions.values()}
    same = [name for name, model in models.items() if model == verdict["digests"]["model"]]
    if same and same[-1] in current.rolled_back:
        raise RolledBackError(
            f"this model is {same[-1]}, which was rolled back; `longtail promote --again` if you mean it"
        )


def replaced_by(serving: Version) -> str:
    """Name of the version that served before `serving` was promoted."""
    before: str | None = _released.document(serving.commit)["replaced"]
    if before is None:
        raise ValueError(f"{serving.name} replaced nothing, so there is no version to roll back to")
    return before


def release_commit(version: str, verdict: Mapping[str, Any], current: Registry) -> str:
    """Commit of the working tree and of what was judged; no ref points to it yet."""
    if not Path("dvc.lock").is_file():
        raise FileNotFoundError("dvc.lock is missing, which says where the data of this model is; run `dvc repro`")
    head = _git.head()
    record = {
        "version": version,
        "replaced": current.serving.name if current.serving else None,
        "digests": verdict["digests"],
        "files": {path.as_posix(): artifacts.verify(path) for path in _released.FILES},
    }
    files = {
        _released.RECORD: json.dumps(record, indent=2, sort_keys=True).encode(),
        _released.VERDICT: (DATA / "gate" / "verdict.json").read_bytes(),
        _released.BENTO: (DATA / "package" / "bento.json").read_bytes(),
    }
    tree = _git.snapshot(always=DESCRIPTION, folders=CODE, files=files)
    return _git.commit_tree(tree, parent=head, message=f"{current.artifact} {version}\n\n{verdict['reason']}")


def keep_data(commit: str) -> None:
    """Check that DVC has the version's files at its commit, and push them where a remote is configured.

    Before the version is registered: nobody shall find a version whose data is not there yet.
    """
    expected = _released.document(commit)["files"]
    found = _released.sha256_at(commit, _released.FILES)
    if stale := differing(expected, found):
        raise ValueError(f"dvc.lock does not describe {' and '.join(stale)} as it is; run `dvc repro`")
    if (remote := _released.default_remote()) is not None:
        say(COMMAND, f"pushing data to the DVC remote {remote}")
        if subprocess.run([sys.executable, "-m", "dvc", "push"], check=False).returncode != 0:
            raise ValueError(f"`dvc push` to {remote} failed, nothing was promoted; correct what it says above")


def assign(current: Registry, version: str, commit: str, message: str, *, register: bool) -> None:
    """Create the tags (and the side ref of a new version), here and on the remote, all or none."""
    # GTO orders events by date alone, which has whole seconds
    when = max([int(time.time()), *(int(event.created.timestamp()) + 1 for event in current.assignments)])
    refs = {}
    if register:
        tag = current.version_tag(version)
        refs[f"{_registry.SIDE_REFS}/{version}"] = commit
        refs[f"refs/tags/{tag}"] = _git.make_tag(tag, commit, message=message, time=when)
    tag = current.assignment_tag()
    refs[f"refs/tags/{tag}"] = _git.make_tag(tag, commit, message=message, time=when)
    remote = load(Release).remote
    try:
        _registry.publish(refs, remote)
    except _git.GitError as error:
        raise ValueError(
            f"another promotion was faster, or {remote or 'Git'} refused ({error}); nothing changed, run `dvc repro`"
        ) from None
