"""A verdict is accepted for the files it judged alone: stages run in any order, with other settings, data or code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipelines.artifacts import outputs as artifacts
from pipelines.artifacts import recipe
from pipelines.registry import chain
from pipelines.workspace import dvc_stage
from tests.conftest import REPO

STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load((REPO / "dvc.yaml").read_text("utf-8"))["stages"]
RAW = Path("data/raw/events.csv")
SERVING = Path("serving")  # what the champion stage looks at
COMPUTED = [name for name in STAGES if name != "champion"]
Action = tuple[str, str, int]


class Small:
    """A checkout in which a stage takes a millisecond: it writes the digest of all that it was made from."""

    def __init__(self, root: Path) -> None:
        self.kept: dict[str, list[Path]] = {name: [] for name in STAGES}
        shutil.copy(REPO / "dvc.yaml", root)
        for name in STAGES:
            self.change("code", name, 0)
        Path("params.yaml").write_text(json.dumps({name: {"x": 0} for name in [*STAGES, "engine", "release"]}))
        self.change("data", "ingest", 0)
        SERVING.write_text("0")
        self.run_all()

    def change(self, kind: str, name: str, value: int) -> None:
        if kind == "code":
            path = Path("pipelines", name, "stage.py")
        elif kind == "data":
            path = RAW
        else:
            values = json.loads(Path("params.yaml").read_text())
            Path("params.yaml").write_text(json.dumps(values | {name: {"x": value}}))
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")

    def run(self, name: str) -> None:
        """A stage by itself, as `dvc repro --single-item` or `python -m` would run it; what it wrote is kept."""
        params = json.loads(Path("params.yaml").read_text())
        with artifacts.stage(name) as stage:
            made_from: list[Any] = [name, Path("pipelines", name, "stage.py").read_text(), params[name]]
            if name == "ingest":
                made_from.append(stage.raw_input(RAW).read_text())
            if name == "champion":
                made_from.append(SERVING.read_text())
            for path in recipe.read_by(STAGES[name]):
                made_from += [stage.input(file.parts[1], file.name).read_text() for file in files_of(path)]
            digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
            read = {
                p.name for s in STAGES.values() for p in recipe.read_by(s) if p.parts[1] == name and len(p.parts) > 2
            }
            for file_name in read | {f"{name}.json"}:
                stage.output(file_name).write_text(f"{file_name} {digest}")
        self.kept[name].append(Path(f"kept-{name}-{len(self.kept[name])}"))
        shutil.copytree(artifacts.DATA / name, self.kept[name][-1])

    def run_all(self) -> None:
        for name in STAGES:
            self.run(name)

    def restore(self, name: str, which: int) -> None:
        """Restore an earlier output of a stage, as `dvc checkout`, a pull or the run cache does."""
        shutil.rmtree(artifacts.DATA / name)
        shutil.copytree(self.kept[name][which % len(self.kept[name])], artifacts.DATA / name)

    def do(self, action: Action) -> None:
        kind, name, value = action
        if kind == "run":
            self.run(name)
        elif kind == "restore":
            self.restore(name, value)
        elif kind == "serving":
            SERVING.write_text(str(value))
        else:
            self.change(kind, name, value)


def files_of(path: Path) -> list[Path]:
    """A file, or what the manifest of a folder names."""
    return [path] if len(path.parts) > 2 else [path / name for name in artifacts.read_manifest(path)["files"]]


def outputs(names: list[str]) -> dict[str, dict[str, str]]:
    return {
        name: {f.name: f.read_text() for f in (artifacts.DATA / name).iterdir() if f.name != artifacts.MANIFEST}
        for name in names
    }


@contextmanager
def small() -> Iterator[Small]:
    """The checkout as the current folder."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "sync", lambda path: None)  # no power fails here
        patch.setattr(artifacts, "describe", lambda path: {"sha256": artifacts.sha256(path)})
        os.chdir(folder)
        try:
            yield Small(Path(folder))
        finally:
            os.chdir(here)


ACTIONS = st.one_of(
    st.tuples(st.just("run"), st.sampled_from(list(STAGES)), st.just(0)),
    st.tuples(st.just("restore"), st.sampled_from(list(STAGES)), st.integers(0, 3)),
    st.tuples(st.sampled_from(["settings", "code"]), st.sampled_from(COMPUTED), st.integers(0, 1)),
    st.tuples(st.just("data"), st.just("ingest"), st.integers(0, 1)),
    st.tuples(st.just("serving"), st.just("champion"), st.integers(0, 1)),
)


@settings(max_examples=60)
@given(st.lists(ACTIONS, max_size=8))
@example(
    [("settings", "train", 1), ("run", "train", 0), ("run", "champion", 0), ("run", "gate", 0), ("run", "package", 0)]
)
@example([("settings", "train", 1), ("run", "gate", 0), ("run", "package", 0)])
@example([("code", "train", 1), ("run", "gate", 0), ("run", "package", 0)])
@example([("settings", "train", 1), ("run", "train", 0), ("settings", "train", 0), ("run", "evaluate", 0)])
@example([("settings", "split", 1), ("run", "split", 0), ("restore", "split", 0)])
@example([("serving", "champion", 1), ("run", "champion", 0), ("run", "gate", 0), ("run", "package", 0)])
@example([("data", "ingest", 1), ("run", "ingest", 0), ("run", "evaluate", 0), ("run", "gate", 0)])
@pytest.mark.slow
def test_what_is_accepted_is_what_a_run_of_everything_would_judge(actions: list[Action]) -> None:
    """Whatever was run alone or restored: promote refuses it, or a run of all stages writes the same."""
    with small() as checkout:
        for action in actions:
            checkout.do(action)
        try:
            chain.check_candidate()
        except ValueError:
            accepted = False
        else:
            accepted, found = True, outputs(COMPUTED)
        data, equal = RAW.read_text(), False
        for value in range(4 if accepted else 1):  # the source may have moved on, and another version may serve by now
            if accepted:
                RAW.write_text(f"{value % 2}\n")
                SERVING.write_text(str(value // 2))
            checkout.run_all()
            equal |= accepted and outputs(COMPUTED) == found
        assert equal == accepted
        chain.check_candidate()
        chain.check_before("gate")
        RAW.write_text(data)


def test_a_complete_run_is_accepted_and_a_stage_run_alone_is_not() -> None:
    with small() as checkout:
        chain.check_candidate()
        checkout.do(("settings", "train", 1))
        checkout.run("train")
        with pytest.raises(
            ValueError, match=r"^data/evaluate was made from another data/train/model\.safetensors: its"
        ):
            chain.check_candidate()
        with pytest.raises(
            ValueError, match=r"^data/champion was made from another .*run `dvc repro`, or `dvc repro --f"
        ):
            chain.check_before("gate")


@pytest.mark.parametrize("stage", ["gate", "package"])
def test_what_a_worker_fetches_for_a_stage_is_all_that_the_stage_checks(stage: str) -> None:
    with small():
        for name in STAGES.keys() - set(dvc_stage.inputs(stage)):
            shutil.rmtree(artifacts.DATA / name)
        chain.check_before(stage)


@pytest.mark.parametrize("name", COMPUTED)
@pytest.mark.parametrize("kind", ["settings", "code"])
def test_other_settings_or_code_of_any_stage_are_named(kind: str, name: str) -> None:
    with small() as checkout:
        checkout.do((kind, name, 1))
        what = name if kind == "settings" else f"pipelines/{name}/stage.py"
        with pytest.raises(ValueError, match=rf"^data/\w+ was made with other {kind} than now: {what}"):
            chain.check_candidate()
        checkout.do((kind, name, 0))
        chain.check_candidate()


@pytest.mark.parametrize("section", ["engine", "release"])
def test_what_changes_no_output_is_not_compared(section: str) -> None:
    with small() as checkout:
        checkout.do(("settings", section, 1))
        chain.check_candidate()


def test_a_manifest_that_names_less_than_the_stage_reads_is_refused() -> None:
    with small():
        folder = Path("data/evaluate")
        manifest = artifacts.read_manifest(folder)
        (folder / artifacts.MANIFEST).unlink()
        recipe = {kind: manifest[kind] for kind in ("settings", "code")}
        artifacts.write_manifest(folder, stage="evaluate", inputs={}, recipe=recipe)
        with pytest.raises(ValueError, match=r"data/evaluate/manifest\.json does not list its input data/split/train"):
            chain.check_candidate()


def test_a_manifest_of_an_earlier_version_of_the_software_is_refused() -> None:
    with small():
        folder = Path("data/train")
        inputs = artifacts.read_manifest(folder)["inputs"]
        (folder / artifacts.MANIFEST).unlink()
        artifacts.write_manifest(folder, stage="train", inputs=inputs)
        with pytest.raises(ValueError, match=r"^data/train was made with other settings than now: train"):
            chain.check_candidate()


def test_raw_files_are_told_of_and_refuse_nothing() -> None:
    with small():
        assert chain.changed_sources() == []
        RAW.write_text("more\n")
        assert chain.changed_sources() == [f"{RAW} has changed since"]
        RAW.unlink()
        assert chain.changed_sources() == [f"{RAW} is not on this machine"]
        chain.check_candidate()


def test_linked_folders_are_compared_by_what_they_hold(tmp_path: Path) -> None:
    with small() as checkout:
        for name in STAGES:
            shutil.move(artifacts.DATA / name, tmp_path / name)
            (artifacts.DATA / name).symlink_to(tmp_path / name)
        chain.check_candidate()
        (tmp_path / "split" / "train.parquet").write_text("another")
        with pytest.raises(ValueError, match=r"data/split/train\.parquet is corrupted"):
            chain.check_candidate()
        assert checkout.kept
