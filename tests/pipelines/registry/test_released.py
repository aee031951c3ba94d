"""A release that was not judged as it is: never made from stages run alone, never served, never rolled back to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import save_file

from pipelines.artifacts import outputs
from pipelines.registry import released, tags, version_files
from pipelines.release import release
from pipelines.serve import supervisor as serve_supervisor
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import git as repository
from tests import made
from tests.conftest import edit_params
from tests.pipelines.releases import Checkout, git, judge, package, record, write_champion

pytestmark = pytest.mark.slow  # Git and DVC for real

Record = dict[str, Any]


@pytest.fixture
def judged(checkout: Checkout) -> Checkout:
    """v1 serves, and a second model was judged better than it."""
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    return checkout


def train(seed: int) -> None:
    with made.stage("train") as stage:
        save_file({"item_factors": np.full((2, 2), seed, np.float32)}, stage.output("model.safetensors"))


def judge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verdict on the figures that lie there, as the gate gave it before it looked at the other stages."""
    champion = outputs.read_json(Path("data/champion/champion.json"))
    with monkeypatch.context() as patch:
        patch.setattr("tests.pipelines.releases.evaluate", lambda *_: None)
        judge("PROMOTE", champion)


@pytest.mark.parametrize("champion_too", [False, True])
def test_a_model_trained_after_the_figures_were_taken_is_refused(
    judged: Checkout, monkeypatch: pytest.MonkeyPatch, champion_too: bool
) -> None:
    """`dvc repro -s` of train, (champion,) gate and package, after `train` was made worse."""
    edit_params(Path("params.yaml"), "train", {"als.embedding_dim": 2, "als.epochs": 1})
    train(3)
    if champion_too:
        write_champion(outputs.read_json(Path("data/champion/champion.json")))
    judge_alone(monkeypatch)
    package(3, built=True)
    record()
    before = git(judged.root, "for-each-ref")
    with pytest.raises(
        ValueError, match=r"^data/evaluate was made from another data/train/model\.safetensors.*`dvc rep"
    ):
        release.promote()
    assert git(judged.root, "for-each-ref") == before


@pytest.mark.parametrize("again", [False, True])
def test_settings_that_no_stage_ran_with_are_refused(
    judged: Checkout, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """`train.als.epochs: 99`, then the gate alone, whose digest of the settings then says 99."""
    edit_params(Path("params.yaml"), "train", {"als.epochs": 99})
    judge_alone(monkeypatch)
    package(2, built=True)
    record()
    with pytest.raises(ValueError, match=r"^data/train was made with other settings than now: train; run"):
        release.promote(again=again)


def test_a_lock_file_of_stages_that_ran_on_other_files_is_refused(judged: Checkout) -> None:
    """The manifests are in order: somebody ran the stages by hand, and DVC knows of an earlier run."""
    path = Path("dvc.lock")
    yaml = YAML(typ="safe")
    lock = yaml.load(path.read_text())
    dep = next(dep for dep in lock["stages"]["evaluate"]["deps"] if dep["path"] == "data/train/model.safetensors")
    dep["md5"] = "0" * 32
    path.write_text(json.dumps(lock))
    with pytest.raises(
        ValueError, match=r"^v2\.0\.0 must not serve: evaluate ran on another data/train/model\.safeten"
    ):
        release.promote()
    assert "v2.0.0" not in git(judged.root, "tag")


def test_a_lock_file_of_another_run_of_a_stage_is_refused(judged: Checkout) -> None:
    path = Path("data/evaluate/metrics.json")
    path.write_text(path.read_text() + "\n")
    made.rewrite_manifest(path.parent)
    inputs = outputs.read_manifest(Path("data/gate"))["inputs"]
    made.rewrite_manifest(Path("data/gate"), inputs=inputs | {path.as_posix(): outputs.sha256(path)})
    inputs = outputs.read_manifest(Path("data/package"))["inputs"]
    made.rewrite_manifest(Path("data/package"), inputs=inputs | {path.as_posix(): outputs.sha256(path)})
    with pytest.raises(ValueError, match=r"^dvc\.lock does not match data/evaluate/manifest\.json and data/gate/mani"):
        release.promote()


def altered(name: str, path: str, change: Callable[[Record], object]) -> None:
    """Let the tags of a version point to its commit with another content of a file, as a forger would."""
    version = tags.read(load(Champion)).version(name)
    content = YAML(typ="safe").load(repository.read_file(version.commit, path))
    change(content)
    tree = repository.tree_with(version.commit, {path: json.dumps(content).encode()})
    commit = repository.commit_tree(tree, parent=version.commit, message="forged")
    for tag in git(Path.cwd(), "tag", "--points-at", version.commit).splitlines():
        new = repository.make_tag(tag, commit, message="forged", time=1_900_000_000)
        git(Path.cwd(), "update-ref", f"refs/tags/{tag}", new)


def of_stage(name: str, change: Callable[[Record], object]) -> Callable[[Record], object]:
    return lambda lock: change(lock["stages"][name])


def other_model(stage: Record) -> None:
    next(dep for dep in stage["deps"] if dep["path"] == "data/train/model.safetensors")["md5"] = "0" * 32


FORGED: list[tuple[str, Callable[[Record], object], str]] = [
    (version_files.VERDICT, lambda verdict: verdict.pop("verdict"), "its files were not written by a promotion"),
    (version_files.BENTO, lambda bento: bento.update(digests=[]), "its files were not written by a promotion"),
    ("dvc.lock", lambda lock: lock.update(stages=[1]), "dvc.lock has no run of ingest"),
    (version_files.VERDICT, lambda verdict: verdict.update(verdict="HOLD"), "its verdict is HOLD, not PROMOTE"),
    (version_files.VERDICT, lambda verdict: verdict.update(reason="none"), "its Bento was built for another verdict"),
    (version_files.BENTO, lambda bento: bento.update(built=False), "it has no Bento"),
    (version_files.BENTO, lambda bento: bento.update(verdict_sha256="0" * 64), "its Bento was built for another verd"),
    (version_files.BENTO, lambda bento: bento["digests"].update(model="0"), "its Bento was built from another model"),
    (version_files.RECORD, lambda record: record["digests"].update(params="0"), "it records another params than"),
    (
        version_files.RECORD,
        lambda record: record["files"].update({"data/train/model.safetensors": "0"}),
        "its model is",
    ),
    (
        "dvc.lock",
        of_stage("evaluate", other_model),
        "evaluate ran on another data/train/model.safetensors than champion",
    ),
    ("dvc.lock", lambda lock: lock["stages"].pop("evaluate"), "dvc.lock has no run of evaluate"),
    (
        "dvc.lock",
        of_stage("train", lambda stage: stage["params"]["params.yaml"]["train"]["als"].update(epochs=99)),
        "train ran with other settings than params.yaml has in train",
    ),
    (
        "params.yaml",
        lambda params: params["gate"].update(confidence=0.6),
        "champion ran with other settings than params.yaml has in gate",
    ),
]


def test_what_was_not_judged_is_neither_served_nor_rolled_back_to(judged: Checkout) -> None:
    release.promote()
    original = git(judged.root, "rev-parse", "longtail@v1.0.0^{commit}")
    registry = tags.read(load(Champion))
    supervisor = serve_supervisor.Supervisor(
        look=lambda: registry, host="127.0.0.1", port=0, n_workers=1, compares=False, pinned=None
    )
    for path, change, problem in FORGED:
        for tag in ("longtail@v1.0.0", "longtail#prod#1"):
            new = repository.make_tag(tag, original, message="as it was", time=1_800_000_000)
            git(judged.root, "update-ref", f"refs/tags/{tag}", new)
        altered("v1.0.0", path, change)
        version = tags.read(load(Champion)).version("v1.0.0")
        for act in (release.rollback, lambda version=version: supervisor.prepare(version, {}, 1)):
            with pytest.raises(ValueError, match=rf"^v1\.0\.0 must not serve: {problem}.*`longtail rollback VERSION`"):
                act()
        serving = tags.read(load(Champion)).serving
        assert serving is not None
        assert serving.name == "v2.0.0"


def test_a_release_of_an_earlier_version_of_the_software_comes_back(judged: Checkout) -> None:
    """Its record names no manifests, and a settings section that has gone since is in its params.yaml and dvc.lock."""
    release.promote()
    altered("v1.0.0", version_files.RECORD, lambda record: record.pop("manifests"))
    altered("v1.0.0", "params.yaml", lambda params: params.update(former={"x": 1}, engine={"name": "none"}))
    altered(
        "v1.0.0", "dvc.lock", of_stage("train", lambda stage: stage["params"]["params.yaml"].update(former={"x": 1}))
    )
    assert release.rollback().version == "v1.0.0"
    version = tags.read(load(Champion)).version("v1.0.0")
    released.check(version.name, version.commit)
