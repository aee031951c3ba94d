"""Chain of stages: each was made from the present files, settings and code.

DVC keeps the chain closed as long as it runs all outdated stages. A stage that is run alone, by DVC or by hand, breaks
it: the figures of evaluate are then of another model than the one in the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import outputs, recipe
from pipelines.artifacts.outputs import DATA
from pipelines.registry.digests import differing

LAST = "package"


def check_before(stage: str) -> None:
    """Raise ValueError if a stage that `stage` depends on was made from other files, settings or code than now.

    Of several, the error names the first one in running order: the later ones have to run again anyway.
    """
    stages = recipe.stages()
    seen: dict[str, str] = {}
    for name in recipe.before(stage, stages):
        check_stage(name, stages, seen)


def check_candidate() -> None:
    """Raise ValueError if any stage up to the Bento was made from other files, settings or code than now.

    The champion may be another one by now, which promote checks itself; all its readers must have read the same one.
    """
    stages = recipe.stages()
    seen: dict[str, str] = {}
    for name in [*recipe.before(LAST, stages), LAST]:
        if not stages[name].get("always_changed"):
            check_stage(name, stages, seen, settled=False)


def manifests() -> list[Path]:
    """Return the manifests with the inputs of every stage of a candidate."""
    return [DATA / name / outputs.MANIFEST for name, stage in recipe.stages().items() if "always_changed" not in stage]


def check_stage(name: str, stages: Mapping[str, Any], seen: dict[str, str], *, settled: bool = True) -> None:
    """Check a stage. seen: sha256 by path, filled here. settled: check also the outputs of stages that always run."""
    manifest = outputs.read_manifest(DATA / name)
    for kind, now in recipe.of(name).items():
        if other := differing(manifest.get(kind, {}), now):
            raise ValueError(f"data/{name} was made with other {kind} than now: {listed(other)}; {again(name)}")
    for path in recipe.read_by(stages[name]):
        if not any(path == Path(known) or path in Path(known).parents for known in manifest["inputs"]):
            raise ValueError(f"{DATA / name / outputs.MANIFEST} does not list its input {path}; {again(name)}")
    for path, recorded in of_stages(manifest["inputs"], stages):
        changes = stages[path.parts[1]].get("always_changed") and not settled
        key = path.as_posix()
        if key not in seen:
            seen[key] = recorded if changes else outputs.verify(path)
        if seen[key] != recorded:
            raise ValueError(
                f"data/{name} was made from another {path}: its sha256 was {recorded}, now it is {seen[key]}; "
                f"{again(name)}"
            )


def of_stages(inputs: Mapping[str, str], stages: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Yield the inputs that are outputs of stages; others are raw data."""
    for name, recorded in inputs.items():
        path = Path(name)
        if path.parts[:1] == DATA.parts and len(path.parts) > 2 and path.parts[1] in stages:
            yield path, recorded


def changed_sources() -> list[str]:
    """Return sentences about raw files that are missing on this machine, or changed since ingest read them.

    That is not an error: the verdict is about the tables that ingest wrote, a live source changes while a
    model is trained, and a machine that has pulled the data has no raw files at all.
    """
    inputs: dict[str, str] = outputs.read_manifest(DATA / "ingest")["inputs"]
    ours = {path.as_posix() for path, _ in of_stages(inputs, recipe.stages())}
    return [change for name in sorted(inputs.keys() - ours) if (change := since(Path(name), inputs[name])) is not None]


def since(path: Path, recorded: str) -> str | None:
    """Return the change of a raw file since it was read; None if it is the same."""
    if not path.is_file():
        return f"{path} is not on this machine"
    try:
        return None if outputs.sha256(path) == recorded else f"{path} has changed since"
    except OSError:
        return f"{path} cannot be read"


def listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def again(stage: str) -> str:
    """Return the remedy; DVC considers files up to date that were committed or edited while it ran."""
    return f"run `dvc repro`, or `dvc repro --force --downstream {stage}` if that runs nothing"
