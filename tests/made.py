"""Stages made by hand: they read what dvc.yaml lists, and leave what later stages read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors.numpy import save_file

from pipelines.artifacts import outputs, tables
from pipelines.artifacts import recipe as recipes


@contextmanager
def stage(name: str) -> Iterator[outputs.StageRun]:
    """As `artifacts.stage`; stages before it that nobody has made yet, and files that nobody writes, hold nothing."""
    stages = recipes.stages()
    for path in recipes.read_by(stages[name]):
        if not (outputs.DATA / path.parts[1]).exists():
            with stage(path.parts[1]):
                pass
    with outputs.stage(name) as run:
        for path in recipes.read_by(stages[name]):
            folder = path.parts[1]
            names = [path.name] if len(path.parts) > 2 else [*outputs.read_manifest(path)["files"]]
            for file in names:
                run.input(folder, file)
        yield run
        for path in {path for other in stages.values() for path in recipes.read_by(other)}:
            if path.parts[1] == name:
                write_nothing(run.output(path.name if len(path.parts) > 2 else f"{name}.json"))


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    """Let the manifest of a folder name its files as they are now, as a forger would; `inputs` and others as given."""
    manifest = outputs.read_manifest(folder) | changes
    (folder / outputs.MANIFEST).unlink()
    recipe: recipes.Recipe = {kind: manifest[kind] for kind in ("settings", "code") if kind in manifest}
    outputs.write_manifest(folder, stage=manifest["stage"], inputs=manifest["inputs"], recipe=recipe)


def write_nothing(path: Path) -> None:
    """A file of its kind that holds nothing, unless it is there."""
    if path.exists():
        return
    if path.suffix == ".parquet":
        tables.write(pa.table({"nothing": pa.array([], pa.int32())}), path)
    elif path.suffix == ".safetensors":
        save_file({}, path)
    else:
        path.write_text("{}\n")
