from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.settings.champion import Champion
from pipelines.settings.check import CLASSES
from pipelines.settings.document import SECTIONS, load
from pipelines.settings.evaluate import Evaluate
from pipelines.settings.gate import Gate
from pipelines.settings.ingest import Ingest
from pipelines.settings.release import Release
from pipelines.settings.split import Split
from pipelines.settings.train import Train
from tests.conftest import REPO, Workspace

CG_STEPS = "    cg_steps: 3                # conjugate-gradient steps per half-sweep\n"


def test_every_section_has_a_class_of_its_name() -> None:
    assert tuple(section.section for section in CLASSES) == SECTIONS


def test_the_files_own_settings_are_valid() -> None:
    for section in CLASSES:
        load(section, REPO / "params.yaml")


def test_settings_are_read_without_the_libraries_of_the_models() -> None:
    lines = [f"import pipelines.settings.{section}" for section in SECTIONS]
    lines += ["import sys", "print({'numpy', 'pyarrow', 'scipy', 'torch'} & set(sys.modules))"]
    result = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        (Train, {"embeding_dim": 64}, r"unknown key train\.embeding_dim; remove it or correct its spelling"),
        (Train, {"als.embedding_dim": "64"}, r"train\.als\.embedding_dim is '64': input should be a valid integer"),
        (Train, {"als.embedding_dim": 64.0}, r"train\.als\.embedding_dim is 64\.0"),
        (
            Train,
            {"als.embedding_dim": 0},
            r"train\.als\.embedding_dim is 0: input should be greater than or equal to 1",
        ),
        (Train, {"als.regularization": float("nan")}, r"train\.als\.regularization is nan"),
        (Split, {"test": 0.9}, r"split\.test is 0\.9: input should be less than 0\.5"),
        (Split, {"strategy": "random"}, r"split\.strategy is 'random': input should be 'auto', 'time' or 'hash'"),
        (Ingest, {"source": "kafka"}, r"ingest\.source is 'kafka': input should be 'demo', 'movielens' or 'table'"),
        (Ingest, {"demo.users": True}, r"ingest\.demo\.users is True: input should be a valid integer"),
        (Ingest, {"sha256": "abc"}, r"ingest\.sha256 is 'abc'"),
        (Release, {"remote": 3}, r"release\.remote is 3"),
        (Gate, {"rules": [{"name": "r", "metric": "ndcg@10"}]}, r"exactly one of min, max, min_gain, max_loss"),
        (Gate, {"rules": [{"name": "r", "metric": "ndcg@10", "min_gain": 1.0}]}, "need a reference"),
        (Gate, {"rules": [{"name": "r", "metric": "ndcg@10", "min": 1.0, "tolerance": -0.1}]}, "tolerance is -0.1"),
        (Gate, {"confidence": 0.5}, r"gate\.confidence is 0\.5: input should be greater than 0\.5"),
        (Gate, {"confidence": 1.0}, r"gate\.confidence is 1\.0: input should be less than 1"),
        (Gate, {"correction": "bonferroni"}, r"gate\.correction is 'bonferroni': input should be 'none' or 'holm'"),
        (Gate, {"resamples": 1000}, r"unknown key gate\.resamples; remove it"),
        (Gate, {"min_users": 100}, r"unknown key gate\.min_users; remove it"),
        (
            Gate,
            {"rules": [{"name": "r", "metric": "ndcg@10", "slice": "a=b", "reference": "best", "max_loss": 0.1}]},
            "no rule has one; add a rule for ndcg@10 of a=b with reference: champion",
        ),
        (Champion, {"baseline": "12"}, r"champion\.baseline is '12'"),
        (Evaluate, {"k": [20, 10]}, r"^params\.yaml: evaluate: k is \[20, 10\], expected list lengths"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_key(
    workspace: Workspace, section: type[Train], change: dict[str, object], message: str
) -> None:
    workspace.params(section.section, change)
    with pytest.raises(ValueError, match=message) as error:
        load(section)
    assert "\n" not in str(error.value)


def test_a_missing_key_is_named(workspace: Workspace) -> None:
    edit(workspace, CG_STEPS, "")
    with pytest.raises(ValueError, match=r"key train\.als\.cg_steps is missing"):
        load(Train)


def test_an_unknown_section_is_named_by_whichever_stage_reads_first(workspace: Workspace) -> None:
    edit(workspace, "release:", "releases:")
    with pytest.raises(ValueError, match="unknown section 'releases'"):
        load(Train)


def test_a_key_written_twice_is_refused(workspace: Workspace) -> None:
    edit(workspace, CG_STEPS, CG_STEPS * 2)
    with pytest.raises(ValueError, match="not valid YAML"):
        load(Train)


def test_a_missing_file_says_where_to_run(workspace: Workspace) -> None:
    Path("params.yaml").unlink()
    with pytest.raises(FileNotFoundError, match="run inside the checkout"):
        load(Train)


def test_a_file_in_another_encoding_is_named(workspace: Workspace) -> None:
    path = workspace.root / "params.yaml"
    path.write_text(path.read_text("utf-8"), "utf-16")
    with pytest.raises(ValueError, match=r"params\.yaml is not UTF-8 text .* save it in that encoding"):
        load(Train)


@pytest.mark.parametrize("encode", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_what_windows_editors_write_is_read(workspace: Workspace, encode: Callable[[str], str]) -> None:
    before = load(Train)
    path = workspace.root / "params.yaml"
    path.write_bytes(encode(path.read_text("utf-8")).encode())
    assert load(Train) == before


def test_a_stage_ends_with_one_line_and_status_1(workspace: Workspace) -> None:
    workspace.params("embed", {"max_length": -1})
    command = [sys.executable, "-m", "pipelines.embed"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(REPO)})
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "embed: error: params.yaml: embed.max_length is -1: input should be greater than or equal to 1; correct it"
    ]


def edit(workspace: Workspace, old: str, new: str) -> None:
    path = workspace.root / "params.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
