"""Input and output of a stage: verified inputs, and an output folder that appears complete or not at all.

A stage writes below `data/.<stage>.partial`; leaving the context writes `manifest.json` last, syncs and renames the
folder to `data/<stage>`. The manifest has the sha256 of inputs, settings and code too, taken before the stage used
them. Before a reader opens a file, it verifies the file's sha256 in the manifest, and the manifest's sha256 of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from pipelines.artifacts import recipe as recipes
from pipelines.privacy import modes

DATA = Path("data")
MANIFEST = "manifest.json"


class StageRun:
    """Files that one run of a stage reads and writes."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.inputs: dict[str, str] = {}

    def input(self, stage: str, name: str) -> Path:
        """Return the path of `data/<stage>/<name>`, verified against that stage's manifest; record its sha256."""
        path = DATA / stage / name
        self.inputs[path.as_posix()] = verify(path)
        return path

    def raw_input(self, path: Path) -> Path:
        """Return the path of a file that no stage wrote (user data); record its sha256 before it is read."""
        self.inputs[path.as_posix()] = sha256(path)
        return path

    def output(self, name: str) -> Path:
        return self.folder / name


@contextmanager
def stage(name: str) -> Iterator[StageRun]:
    """Run a stage: yield its files, publish `data/<name>` when the block ends without an error."""
    partial = DATA / f".{name}.partial"
    for leftover in leftovers(name):
        shutil.rmtree(leftover)
    modes.folder(DATA)
    modes.close_checkout()
    modes.folder(partial)
    run, recipe = StageRun(name, partial), recipes.of(name)
    try:
        yield run
        write_manifest(partial, stage=name, inputs=run.inputs, recipe=recipe)
        replace_folder(partial, DATA / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def leftovers(name: str) -> list[Path]:
    """Return the leftovers of a killed run of a stage: its unfinished output, or the former one being replaced."""
    return [path for path in (DATA / f".{name}.partial", DATA / f".{name}.old") if path.exists()]


def write_manifest(
    folder: Path, *, stage: str, inputs: dict[str, str], recipe: Mapping[str, dict[str, str]] | None = None
) -> None:
    """Describe every file of a folder (sha256, bytes, rows or shapes) in its `manifest.json`, then sync all of it."""
    files = {p.relative_to(folder).as_posix(): describe(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    manifest = {"stage": stage, "inputs": inputs, "files": files, **(recipe or {})}
    write_json(folder / MANIFEST, manifest | {"sha256": of_manifest(manifest)})
    for path in [*folder.rglob("*"), folder]:
        modes.restrict(path)
        sync(path)


def replace_folder(new: Path, final: Path) -> None:
    """Rename `new` to `final`; move an older `final` aside first, so that no reader sees a mixture."""
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    new.rename(final)
    sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def verify(path: Path) -> str:
    """Return the sha256 of a stage's file; raises ValueError if the stage's manifest has another."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; run `dvc repro {path.parent.name}`, or `dvc pull` if a remote has it"
        )
    manifest = read_manifest(path.parent)
    known = manifest["files"].get(path.name)
    if known is None:
        raise ValueError(f"{path} is not in {path.parent / MANIFEST}: its stage did not write it; {anew(path.parent)}")
    actual = sha256(path)
    if actual != known.get("sha256"):
        raise ValueError(
            f"{path} is corrupted: sha256 is {actual}, its manifest has {known.get('sha256')}; {anew(path.parent)}"
        )
    return actual


def read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {folder} is not a finished output; run `dvc repro {folder.name}`")
    manifest: dict[str, Any] = read_json(path)
    if not isinstance(manifest, dict) or not {"stage", "inputs", "files"} <= manifest.keys():
        raise ValueError(f"{path} is corrupted: it does not name stage, inputs and files; {anew(folder)}")
    if manifest.pop("sha256", None) != of_manifest(manifest):
        raise ValueError(f"{path} is corrupted: it does not match the sha256 in it; {anew(folder)}")
    return manifest


def of_manifest(manifest: dict[str, Any]) -> str:
    """Return the sha256 of a manifest's content."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()


def anew(folder: Path) -> str:
    """Return the remedy for a damaged output: DVC may consider it unchanged, or its cached copy may be damaged too."""
    return f"remove {folder} and run `dvc repro --force --downstream {folder.name}`"


def describe(path: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # takes a fifth of a second; readers do not need it

        entry["rows"] = pq.read_metadata(path).num_rows
    if path.suffix == ".safetensors":
        with safe_open(path, framework="numpy") as tensors:
            entry["shapes"] = {key: list(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
    return entry


def sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise type(error)(f"{path} cannot be read: {error.strerror}; check that it exists and is readable") from error


@contextmanager
def written(path: Path, *, mode: int = modes.FILE) -> Iterator[Path]:
    """Yield an empty file beside `path`; it is synced and replaces `path` when the block ends without an error.

    Every process has a file of its own, so that the last one to end replaces it completely. mode: of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield modes.file(partial, mode)
        sync(partial)
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, equal for equal values: sorted keys, no NaN."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); remove {path.parent} and run its stage again") from error


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
