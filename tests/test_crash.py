"""kill -9 of a stage's process group at five moments of its life, and a disk that is full: nothing half is ever read.

Whatever a run leaves behind, the next one goes on from it, and in the end every file is as if nothing had happened.
"""

from __future__ import annotations

import ast
import csv
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import outputs
from tests import small_encoder
from tests.clones import Clone
from tests.conftest import REPO
from tests.forked import Forked

pytestmark = pytest.mark.slow

BEFORE_REPLACING = "os.rename:data/{stage}"  # the former output is about to be moved aside
STEPS = {
    "at its start": "os.mkdir:data/.{stage}.partial",
    "in the middle of its output": "open:data/.{stage}.partial/{file}",
    "before its manifest": "open:data/.{stage}.partial/manifest.json",
    "before it publishes": "os.rename:data/.{stage}.partial",
}
FILES = {  # one that a stage writes in the middle or at the end
    "ingest": "summary.json", "validate": "report.json", "split": "holdout.json", "embed": "embeddings.safetensors",
    "train": "training.csv", "champion": "champion.json", "evaluate": "slices.csv", "gate": "report.md",
    "package": "bento.json",
}  # fmt: skip
NEXT = {
    "ingest": "validate", "validate": "split", "split": "embed", "embed": "train", "train": "evaluate",
    "champion": "evaluate", "evaluate": "gate", "gate": "package",
}  # fmt: skip
TIMED = "training.csv"  # holds seconds
RULE = {"name": "relevant", "metric": "ndcg@10", "reference": "random"}
TAIL = {"name": "tail", "metric": "tail_coverage@10", "reference": "popularity", "min_gain": 0.05}
ATTAINABLE = [RULE | {"min_gain": 0.01}, TAIL]
SMALL: dict[str, dict[str, Any]] = {
    "ingest": {"demo.users": 300, "demo.items": 300, "demo.events": 6000, "demo.new_items": 20, "demo.dirty_rows": 30},
    "embed": {"model": "encoder"},
    "train": {
        "als.embedding_dim": 8, "als.epochs": 2, "anchor": 0.0,
        "rerank.popularity": [], "rerank.xquad": [], "rerank.slots": [0.5],
    },
    "gate": {"rules": [RULE | {"min_gain": 0.9}]},
}  # fmt: skip


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 256 MB where this machine lets us have one, else a folder."""
    folder = tmp_path_factory.mktemp("disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(folder)], stderr=subprocess.DEVNULL)
    yield folder
    if done.returncode == 0:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def clone(disk: Path) -> Clone:
    clone = Clone(disk / "longtail")
    clone.params(SMALL)
    small_encoder.write(clone.root / "encoder", ["the", "of", "night", "garden", "sea", "robot", "letter"])
    return clone


@pytest.fixture(scope="module")
def stages(clone: Clone) -> Iterator[Forked]:
    """The stages of the clone, after each has run."""
    forked = Forked(clone, list(FILES))
    try:
        for stage in FILES:
            status, output = forked.run(stage)
            assert status == 0, output
        yield forked
    finally:
        forked.end()


@pytest.fixture(autouse=True)
def here(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone.root)


def contents(stage: str) -> dict[str, Any]:
    """The sha256 of each file of an output, and the rows of what holds seconds without these; all of it is verified."""
    folder = Path("data", stage)
    found: dict[str, Any] = {name: outputs.verify(folder / name) for name in outputs.read_manifest(folder)["files"]}
    if TIMED in found:
        rows = list(csv.DictReader((folder / TIMED).open()))
        found[TIMED] = [{key: value for key, value in row.items() if "seconds" not in key} for row in rows]
    return found


def refused(stage: str) -> None:
    """Assert that nothing reads what a killed run left."""
    with pytest.raises(FileNotFoundError, match=f"run `dvc repro {stage}`"):
        outputs.verify(Path("data", stage, FILES[stage]))


def alone(stages: Forked, stage: str) -> str:
    """The one line in which a stage refuses its input."""
    status, output = stages.run(stage)
    assert (status, output.count("\n")) == (1, 1), output
    return output


@pytest.mark.parametrize("stage", FILES)
def test_a_stage_killed_at_five_moments_in_turn_leaves_nothing_half_and_a_rerun_gives_the_same(
    stages: Forked, stage: str
) -> None:
    whole = contents(stage)
    assert stages.run(stage, BEFORE_REPLACING.format(stage=stage))[0] == -signal.SIGKILL
    assert contents(stage) == whole
    shutil.rmtree(Path("data", stage))
    for step in STEPS.values():
        status, output = stages.run(stage, step.format(stage=stage, file=FILES[stage]))
        assert status == -signal.SIGKILL, output
        refused(stage)
        if stage in NEXT:
            assert f"error: data/{stage}/" in alone(stages, NEXT[stage])
    status, output = stages.run(stage)
    assert status == 0, output
    assert contents(stage) == whole
    assert not list(Path("data").glob(f".{stage}.*"))


def test_a_stage_killed_between_its_two_renames_has_no_output_rather_than_half_of_it(stages: Forked) -> None:
    whole = contents("split")
    assert stages.run("split", "os.rename:data/.split.partial")[0] == -signal.SIGKILL
    refused("split")
    assert stages.run("split")[0] == 0
    assert contents("split") == whole
    assert not list(Path("data").glob(".split.*"))


def test_texts_that_were_computed_before_a_kill_count(stages: Forked) -> None:
    whole = contents("embed")
    shutil.rmtree(".longtail/embeddings")
    assert stages.run("embed", "open:data/.embed.partial/manifest.json")[0] == -signal.SIGKILL
    _, output = stages.run("embed")
    assert "0 to compute" in output
    assert contents("embed") == whole


class Ballast:
    """A file that takes what is free on a disk."""

    def __init__(self, disk: Path) -> None:
        if not disk.is_mount():
            pytest.skip("a disk that can be filled needs the right to mount one")
        self.path, self.disk = disk / "ballast", disk

    def leave(self, n_bytes: int) -> None:
        size = max(shutil.disk_usage(self.disk).free - n_bytes, 0)
        with self.path.open("wb") as file:
            for start in range(0, size, 1 << 20):
                file.write(bytes(min(1 << 20, size - start)))

    def free(self) -> None:
        self.path.unlink(missing_ok=True)


@pytest.fixture
def ballast(disk: Path) -> Iterator[Ballast]:
    ballast = Ballast(disk)
    yield ballast
    ballast.free()


@pytest.mark.parametrize("stage", FILES)
def test_a_full_disk_ends_a_stage_in_one_line_and_with_room_it_goes_on(
    stages: Forked, ballast: Ballast, stage: str
) -> None:
    whole = contents(stage)
    n_bytes = sum(file["bytes"] for file in outputs.read_manifest(Path("data", stage))["files"].values())
    shutil.rmtree(Path("data", stage))
    ballast.leave(n_bytes // 2)
    status, output = stages.run(stage)
    last = output.splitlines()[-1]
    assert status == 1, output
    assert last.startswith(f"{stage}: error:")
    assert "make room" in last
    assert "Traceback" not in output
    refused(stage)
    assert not list(Path("data").glob(f".{stage}.*"))
    ballast.free()
    assert stages.run(stage)[0] == 0
    assert contents(stage) == whole


def test_longtail_run_goes_on_after_a_kill_emptied_dvcs_files(clone: Clone, stages: Forked) -> None:
    clone.dvc("commit", "--force")
    clone.git("add", "dvc.lock")
    clone.commit("a run")
    whole = {stage: contents(stage) for stage in FILES}
    Path("dvc.lock").write_bytes(b"")
    Path(".dvc/tmp/rwlock").write_bytes(b"")
    printed = clone.longtail("run", "--no-promote")
    assert "dvc.lock was unreadable: restored from the last commit" in printed
    assert "rwlock was unreadable: removed" in printed
    assert "nothing changed since the last run" in printed
    assert {stage: contents(stage) for stage in FILES} == whole


def test_dvc_goes_on_after_its_whole_group_was_killed(clone: Clone, stages: Forked) -> None:
    whole = contents("split")
    shutil.rmtree("data/split")
    Path("data/.split.partial").mkdir()
    code = (
        "from tests.forked import crash_at; crash_at('open', 'dvc.lock'); from dvc.cli import main; "
        "main(['repro', '--force', '--single-item', 'split'])"
    )
    env = {**clone.env, "PATH": f"{Path(sys.executable).parent}:{clone.env['PATH']}"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, start_new_session=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    clone.dvc("repro", "split")
    assert contents("split") == whole
    assert not list(Path("data").glob(".*.partial"))


def test_a_bento_killed_while_it_is_packed_is_built_anew_from_the_same_files(clone: Clone, stages: Forked) -> None:
    clone.params({"gate": {"rules": ATTAINABLE}})
    assert "PROMOTE" in stages.run("gate")[1]
    shutil.rmtree("data/package")
    status, killed = stages.run("package", "open:data/.package.partial/longtail.tar")
    assert status == -signal.SIGKILL, killed
    refused("package")
    status, output = stages.run("package")
    assert status == 0, output
    assert killed.splitlines()[0] == output.splitlines()[0]  # «building» and a tag, which is a digest of every file
    outputs.verify(Path("data/package/longtail.tar"))


def test_every_stage_writes_through_the_one_context_that_publishes_whole_outputs() -> None:
    """So what is tested above for the moments of some files holds for all."""
    stages = list((REPO / "pipelines").glob("*/stage.py"))
    assert {path.parent.name for path in stages} == set(FILES)
    for path in stages:
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        assert sum(ast.unparse(call.func) == "outputs.stage" for call in calls) == 1, path
