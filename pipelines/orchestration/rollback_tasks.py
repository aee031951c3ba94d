"""Tasks of the DAG `rollback`: choose a version, check its Bento over HTTP, let it serve."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipelines.bentos import same_answers, smoke, store
from pipelines.orchestration.run_release import described
from pipelines.registry import released, tags, version_files
from pipelines.release import release
from pipelines.runtime.console import say
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.package import Package


def choose(version: str | None) -> dict[str, Any]:
    """Return the version to go back to: the given one, or the predecessor; raises ValueError if there is none."""
    current = tags.read(load(Champion))
    if current.serving is None:
        raise ValueError("no version serves yet, so there is nothing to roll back")
    target = current.version(version or release.replaced_by(current.serving))
    if target == current.serving:
        raise ValueError(f"{target.name} already serves; choose another of {', '.join(current.versions)}")
    say("choose", f"from {current.serving.name} back to {target.name}")
    return {"version": target.name, "serving": current.serving.name}


def smoke_test(version: str) -> dict[str, Any]:
    """Serve a version's Bento on a free port; raises ValueError if its answers differ from those when it was built."""
    target = tags.read(load(Champion)).version(version)
    released.check(target.name, target.commit)
    archive = version_files.archive(target.name, target.commit)
    bento = version_files.document(target.name, target.commit, version_files.BENTO)
    with TemporaryDirectory(prefix="longtail-smoke-") as folder:
        home = Path(folder, "home")
        home.mkdir()
        store.run("import", str(archive.absolute()), env=store.environment(home))
        with smoke.serving(bento["tag"], home=home, timeout=load(Package).ready_timeout) as url:
            same_answers.check(url, bento)
    say("smoke_test", f"{version} gives the same answers as when it was built")
    return {"version": version, "bento": bento["tag"]}


def rollback(version: str, serving: str, reason: str | None, by: str) -> dict[str, Any]:
    """Let a version serve again, unless the version in service is no longer `serving`; by: who triggered it."""
    current, text = tags.read(load(Champion)).serving, f"{version} already serves"
    if current is not None and current.name == version:
        pass
    elif current is None or current.name != serving:
        raise ValueError(f"{current.name if current else 'nothing'} serves now, not {serving}; trigger the DAG again")
    else:
        text = release.rollback(version, why=f"by {by}: {reason or 'no reason given'}").text
    say("rollback", text)
    return {**described(version), "reason": reason, "rolled_back": serving, "text": text}
