"""The package stage: what it builds, what it refuses to build."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.artifacts import outputs, tables
from pipelines.bentos import smoke
from pipelines.package import contents
from pipelines.package import stage as package
from tests import judged
from tests.conftest import Workspace


def archived(folder: Path) -> dict[str, bytes]:
    """Content of every file of longtail.tar."""
    with tarfile.open(folder / "longtail.tar") as tar:
        files = {member.name.removeprefix("./"): tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read() for name, file in files.items() if file}


@pytest.mark.parametrize("verdict", ["REJECT", "HOLD"])
def test_a_model_that_is_not_promoted_gets_no_bento_but_a_reason(workspace: Workspace, verdict: str) -> None:
    judged.write(verdict)
    package.main()
    bento = outputs.read_json(Path("data/package/bento.json"))
    assert bento == {"built": False, "reason": f"the verdict is {verdict}: every rule passes"}
    assert not Path("data/package/longtail.tar").exists()


def test_another_model_than_the_judged_one_is_refused(workspace: Workspace) -> None:
    verdict = judged.write()
    judged.write(model=judged.factors(seed=1))
    with outputs.stage("gate") as stage:  # the verdict of the model before
        outputs.write_json(stage.output("verdict.json"), verdict)
    with pytest.raises(ValueError, match=rf"not the model that was judged.*{verdict['digests']['model']}.*dvc repro"):
        package.main()
    assert not Path("data/package").exists()


@pytest.mark.parametrize("name", ["train/model.safetensors", "split/items.parquet", "gate/verdict.json"])
def test_a_flipped_byte_of_an_input_is_refused(workspace: Workspace, name: str) -> None:
    judged.write()
    path = Path("data") / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is corrupted"):
        package.main()
    assert not Path("data/package").exists()


def test_an_interaction_with_an_item_that_the_split_lacks_is_refused(workspace: Workspace) -> None:
    judged.write()
    with outputs.stage("split") as stage:
        tables.write(judged.items_table().slice(1), stage.output("items.parquet"))
        outputs.write_json(stage.output("holdout.json"), {"head_share": 0.8})
    with pytest.raises(ValueError, match=r"data/split has no items for \d+ interactions; run `dvc repro split`"):
        package.main()


def test_histories_are_complete_whatever_the_order_of_the_rows() -> None:
    pairs = [("b", "y"), ("NA", "x"), ("b", "x"), ("0007", "z"), ("NA", "z")]
    user_ids, item_ids = zip(*pairs, strict=True)
    table = pa.table({"user_id": user_ids, "item_id": item_ids})
    users = contents.histories(table, pa.table({"item_id": ["x", "y", "z"]}))
    assert users.user_id == ["0007", "NA", "b"]
    assert [users.history(row).tolist() for row in range(3)] == [[2], [0, 2], [1, 0]]
    assert users.offsets.dtype == np.int64
    assert users.item_idx.dtype == np.int32


def test_a_cell_that_lists_several_values_holds_each_and_itself() -> None:
    cells = contents.cells(pa.chunked_array([["a|b", "b, c", None, "d"]]))
    assert cells == [["a", "b", "a|b"], ["b", "c", "b, c"], [], ["d", "d"]]
    assert contents.cells(pa.chunked_array([[True, None, False]])) == [["true"], [], ["false"]]
    assert contents.cells(pa.chunked_array([[0.5]])) is None
    many = pa.chunked_array([[f"x{n % 40}|y{n // 40}" for n in range(1600)]])
    assert (contents.cells(many) or [])[41] == ["x1", "y1"]  # too many wholes
    assert contents.cells(pa.chunked_array([[str(n) for n in range(1001)]])) is None


def test_a_version_depends_on_every_path_and_digest_but_not_on_their_order() -> None:
    files = {"a": "1", "b": "2"}
    assert package.version(files) == package.version({"b": "2", "a": "1"})
    others: list[dict[str, Any]] = [{"a": "2", "b": "1"}, {"a": "1"}, {"a": "1", "c": "2"}]
    assert len({package.version(each) for each in [files, *others]}) == 4
    assert len(package.version(files)) == 12


@pytest.mark.slow
def test_the_bento_holds_the_judged_bytes_and_no_other(packaged: Path) -> None:
    bento, files = outputs.read_json(packaged / "bento.json"), archived(packaged)
    train, gate = packaged.parent / "train", packaged.parent / "gate"
    assert files["src/packed/model.safetensors"] == (train / "model.safetensors").read_bytes()
    assert files["src/packed/verdict.json"] == (gate / "verdict.json").read_bytes()
    assert bento["verdict_sha256"] == outputs.sha256(gate / "verdict.json")
    assert bento["files"]["src/packed/model.safetensors"] == bento["digests"]["model"]
    sources = {name for name in files if name.startswith("src/")} - {"src/bentofile.yaml"}  # BentoML writes that one
    assert sources == bento["files"].keys()
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib", ".pt", ".pyc"))]


@pytest.mark.slow
def test_the_model_card_is_in_the_bento_and_beside_it_with_its_resources(packaged: Path) -> None:
    tag = outputs.read_json(packaged / "bento.json")["tag"]
    inside, beside = archived(packaged)["README.md"].decode(), (packaged / "card.md").read_text("utf-8")
    assert beside.startswith(inside.rstrip())
    for part in (f"# {tag}", "**PROMOTE**: every rule passes", "| candidate | 0.3000 | 0.5000 | 0.2000 |",
                 "encoder of the training, form half; cosine 1.0", "search: flat", "`00000000"):  # fmt: skip
        assert part in inside
    assert re.search(r"cold start until ready, on the machine of the build \| \d+\.\d s", beside)
    size = re.search(r"environment, (\d+) packages besides Python \| ([\d.]+) MB", beside)
    assert size is not None
    assert float(size[2]) < 300


@pytest.mark.slow
def test_the_bento_installs_pinned_serving_requirements_only(packaged: Path) -> None:
    lines = archived(packaged)["env/python/requirements.txt"].decode().split("\n")
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line for line in requirements)
    assert not [line for line in requirements if line.startswith(("torch", "pandas", "pyarrow", "dvc", "apache"))]


@pytest.mark.slow
def test_equal_inputs_give_an_equal_tag_and_equal_reports(workspace: Workspace, packaged: Path) -> None:
    judged.write()
    package.main()
    assert Path("data/package/bento.json").read_bytes() == (packaged / "bento.json").read_bytes()
    differing = {
        name for name, content in archived(Path("data/package")).items() if archived(packaged)[name] != content
    }
    assert differing <= {"bento.yaml"}  # BentoML writes the time of the build there


@pytest.mark.slow
def test_a_server_that_is_not_ready_in_time_publishes_nothing(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged.write()
    wait_ready = smoke.wait_ready  # given no time at all: how fast this machine starts a server must not matter
    monkeypatch.setattr(smoke, "wait_ready", lambda url, server, timeout: wait_ready(url, server, 0))
    with pytest.raises(ValueError, match=r"not ready after 0 s; raise package.ready_timeout"):
        package.main()
    assert not Path("data/package").exists()


@pytest.mark.slow
def test_the_image_that_would_be_built_installs_the_requirements_and_serves_as_nobody_special(packaged: Path) -> None:
    lines = archived(packaged)["env/docker/Dockerfile"].decode().splitlines()
    assert next(line for line in lines if line.startswith("FROM")).startswith("FROM python:3.11-slim")
    assert any("env/python/requirements.txt" in line for line in lines)
    assert "ENV OMP_NUM_THREADS=$OMP_NUM_THREADS" in lines
    assert lines.index("USER bentoml") < next(n for n, line in enumerate(lines) if line.startswith("ENTRYPOINT"))
    assert not [line for line in lines if "torch" in line or "cuda" in line]
