"""The files of a Bento, and what the service needs to run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bento.model import files
from pipelines.bentos import smoke
from pipelines.bentos import store as bentos
from tests.conftest import REPO

HEAVY = {
    *("airflow", "dvc", "faiss", "great_expectations", "numba", "pandas", "pyarrow", "scipy", "torch", "transformers"),
}


def pins(path: Path) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_serving_needs_the_versions_that_the_pipeline_was_tested_with() -> None:
    serving, everything = pins(REPO / "bento/requirements.txt"), pins(REPO / "constraints.txt")
    assert serving
    assert serving == {name: everything[name] for name in serving}
    assert not HEAVY & serving.keys()


def test_a_service_outside_of_a_bento_says_how_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="longtail serve"):
        files.verify(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["packed/model.safetensors", "packed/items.safetensors", "bento/service.py", "models/inference/factors.py"]
)
def test_a_file_changed_by_one_byte_is_named(store: Path, tag: str, tmp_path: Path, name: str) -> None:
    root = shutil.copytree(bentos.folder(store, tag) / "src", tmp_path / "src")
    assert files.verify(root)["tag"] == tag
    content = bytearray((root / name).read_bytes())
    content[-2] ^= 1
    (root / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} of {tag} .* sha256 is [0-9a-f]{{64}}, expected"):
        files.verify(root)
    (root / name).unlink()
    with pytest.raises(ValueError, match="sha256 is missing"):
        files.verify(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *(
            "bento/extra.py",
            "models/extra.py",
            "json.py",
            "numpy/__init__.py",
            "packed/extra.safetensors",
            "bento/.hidden",
        ),
        *("bento/extra.cpython-311-x86_64-linux-gnu.so", "models/extra.pyc", "bento/pages/explorer_page/extra.js"),
    ],
)
def test_a_file_that_was_not_packaged_is_named(store: Path, tag: str, tmp_path: Path, name: str) -> None:
    root = shutil.copytree(bentos.folder(store, tag) / "src", tmp_path / "src")
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).touch()
    with pytest.raises(
        ValueError, match=rf"^{name} is not part of {tag}: 1 file\(s\) were added .*refusing to serve it"
    ):
        files.verify(root)


@pytest.mark.slow
def test_a_link_that_was_not_packaged_is_named(store: Path, tag: str, tmp_path: Path) -> None:
    root = shutil.copytree(bentos.folder(store, tag) / "src", tmp_path / "src")
    (tmp_path / "elsewhere").mkdir()
    for name, target in (("requests", tmp_path / "elsewhere"), ("dangling.py", tmp_path / "nothing")):
        (root / name).symlink_to(target)
        with pytest.raises(ValueError, match=f"^{name} is not part of {tag}"):
            files.verify(root)
        (root / name).unlink()


@pytest.mark.slow
def test_bytecode_that_python_keeps_is_not_taken_for_an_added_file(store: Path, tag: str, tmp_path: Path) -> None:
    root = shutil.copytree(bentos.folder(store, tag) / "src", tmp_path / "src")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(root)], check=True)
    assert list(root.rglob("*.pyc"))
    assert files.verify(root)["tag"] == tag


@pytest.mark.slow
def test_a_server_among_whose_files_is_another_one_ends_with_one_clear_line(
    store: Path, tag: str, tmp_path: Path
) -> None:
    home = shutil.copytree(store, tmp_path / "store")
    (bentos.folder(home, tag) / "src/models/factors2.py").touch()
    refused = pytest.raises(ValueError, match=r"status 1 before it was ready.*refusing to serve it")
    with refused as error, smoke.serving(tag, home=home, timeout=60):
        raise AssertionError("it served")
    assert "Traceback" not in (home / "server.log").read_text("utf-8")
    assert "longtail: error: models/factors2.py is not part of" in str(error.value)


@pytest.mark.slow
def test_a_server_whose_model_was_changed_ends_with_one_clear_line(store: Path, tag: str, tmp_path: Path) -> None:
    home = shutil.copytree(store, tmp_path / "store")
    model = bentos.folder(home, tag) / "src/packed/model.safetensors"
    model.chmod(0o644)
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    refused = pytest.raises(ValueError, match=r"status 1 before it was ready.*refusing to serve it")
    with refused as error, smoke.serving(tag, home=home, timeout=60):
        pass
    assert "Traceback" not in (home / "server.log").read_text("utf-8")
    assert "longtail: error: packed/model.safetensors" in str(error.value)


@pytest.mark.slow
def test_the_service_runs_on_the_code_in_the_bento_and_loads_nothing_of_training(store: Path, tag: str) -> None:
    root = bentos.folder(store, tag) / "src"
    script = """
import sys
from bento.service import Longtail
from bento.api.schemas import ForUser
service = Longtail.inner()
assert service.recommend(ForUser(user_id="NA")).items
print(sys.modules["models.inference.factors"].__file__, *sys.modules, sep="\\n")
"""
    env = bentos.environment(store)
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=root, capture_output=True, text=True, check=True)
    file, *modules = done.stdout.splitlines()
    assert Path(file) == root / "models/inference/factors.py"
    assert not HEAVY & set(modules)
