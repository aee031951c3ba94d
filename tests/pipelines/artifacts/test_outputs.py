from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pipelines.artifacts import outputs, tables
from tests.conftest import Workspace


def write_stage(text: str = "whole") -> None:
    with outputs.stage("split") as stage:
        stage.output("a.txt").write_text(text)


def test_the_manifest_describes_files_and_inputs(workspace: Workspace) -> None:
    write_stage()
    with outputs.stage("train") as stage:
        stage.input("split", "a.txt")
        save_file({"w": np.zeros((3, 2), np.float32)}, stage.output("w.safetensors"))
        tables.write(pa.table({"x": [1, 2]}), stage.output("x.parquet"))
    manifest = outputs.read_manifest(Path("data/train"))
    assert manifest["stage"] == "train"
    assert manifest["inputs"] == {"data/split/a.txt": outputs.sha256(Path("data/split/a.txt"))}
    assert manifest["files"]["w.safetensors"]["shapes"] == {"w": [3, 2]}
    assert manifest["files"]["x.parquet"]["rows"] == 2
    assert manifest["files"]["x.parquet"]["bytes"] == Path("data/train/x.parquet").stat().st_size


def test_a_stage_that_fails_publishes_nothing_and_keeps_what_was(workspace: Workspace) -> None:
    write_stage("before")
    with contextlib.suppress(KeyboardInterrupt), outputs.stage("split") as stage:
        stage.output("a.txt").write_text("half")
        raise KeyboardInterrupt
    assert Path("data/split/a.txt").read_text() == "before"
    assert [path.name for path in Path("data").iterdir()] == ["split"]


def test_what_a_killed_run_left_is_not_published(workspace: Workspace) -> None:
    Path("data/.split.partial").mkdir(parents=True)
    Path("data/.split.partial/old.txt").write_text("half")
    write_stage()
    assert sorted(path.name for path in Path("data/split").iterdir()) == ["a.txt", "manifest.json"]


def test_a_folder_without_a_manifest_is_refused(workspace: Workspace) -> None:
    write_stage()
    Path("data/split/manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"not a finished output; run `dvc repro split`"):
        outputs.verify(Path("data/split/a.txt"))


@pytest.mark.parametrize("damaged", ["{}", "[]", '{"stage": "split", "inputs": {}, "fimes": {}}'])
def test_a_manifest_that_is_damaged_but_still_json_is_refused(workspace: Workspace, damaged: str) -> None:
    write_stage()
    Path("data/split/manifest.json").write_text(damaged)
    with pytest.raises(ValueError, match=r"manifest\.json is corrupted.*dvc repro --force --downstream split"):
        outputs.verify(Path("data/split/a.txt"))


def test_a_file_whose_digest_the_manifest_has_lost_is_refused(workspace: Workspace) -> None:
    write_stage()
    manifest = Path("data/split/manifest.json")
    manifest.write_text(manifest.read_text().replace("sha256", "sha257"))
    with pytest.raises(ValueError, match=r"manifest\.json is corrupted"):
        outputs.verify(Path("data/split/a.txt"))


def test_a_file_the_stage_did_not_write_is_refused(workspace: Workspace) -> None:
    write_stage()
    Path("data/split/b.txt").write_text("foreign")
    with pytest.raises(ValueError, match="its stage did not write it"):
        outputs.verify(Path("data/split/b.txt"))


def test_a_missing_file_is_named_with_the_stage_to_run(workspace: Workspace) -> None:
    with pytest.raises(FileNotFoundError, match="run `dvc repro split`, or `dvc pull`"):
        outputs.verify(Path("data/split/a.txt"))


@given(st.data())
def test_any_flipped_bit_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("stage") / "split"
    folder.mkdir()
    content = bytes(range(64))
    (folder / "a.bin").write_bytes(content)
    outputs.write_manifest(folder, stage="split", inputs={})
    position, bit = data.draw(st.integers(0, 63)), data.draw(st.integers(0, 7))
    damaged = bytearray(content)
    damaged[position] ^= 1 << bit
    (folder / "a.bin").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"a\.bin is corrupted.*dvc repro --force --downstream split"):
        outputs.verify(folder / "a.bin")


KINDS = ("table.parquet", "model.safetensors", "metrics.json", "plot.csv", "longtail.tar", outputs.MANIFEST)


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_of_fifty_flipped_bits_are_refused_whatever_the_file(workspace: Workspace, kind: str) -> None:
    with outputs.stage("split") as stage:
        stage.raw_input(Path("params.yaml"))
        tables.write(pa.table({"x": np.arange(500)}), stage.output("table.parquet"))
        save_file({"w": np.arange(500, dtype=np.float32)}, stage.output("model.safetensors"))
        outputs.write_json(stage.output("metrics.json"), {"ndcg@10": 0.25, "users": 500})
        tables.write_csv(stage.output("plot.csv"), [{"x": x, "y": x / 2} for x in range(50)])
        stage.output("longtail.tar").write_bytes(bytes(range(256)) * 4)
    path = Path("data/split", kind)
    whole = path.read_bytes()
    read = path if kind != outputs.MANIFEST else path.with_name("table.parquet")
    refused = 0
    for place in np.random.default_rng(0).choice(8 * len(whole), 50, replace=False):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            outputs.verify(read)
        except (ValueError, FileNotFoundError):
            refused += 1
    assert refused == 50


def test_equal_content_gives_equal_manifests(workspace: Workspace) -> None:
    write_stage()
    first = Path("data/split/manifest.json").read_bytes()
    write_stage()
    assert Path("data/split/manifest.json").read_bytes() == first


def test_json_with_nan_is_never_written(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="JSON"):
        outputs.write_json(Path("x.json"), {"a": float("nan")})


def test_a_flipped_byte_in_a_parquet_page_is_found_even_without_a_manifest(workspace: Workspace) -> None:
    tables.write(pa.table({"x": np.arange(10_000)}), Path("x.parquet"))
    content = bytearray(Path("x.parquet").read_bytes())
    content[2000] ^= 255
    Path("x.parquet").write_bytes(content)
    with pytest.raises(OSError, match=r"checksum|CRC"):
        tables.read(Path("x.parquet"))
