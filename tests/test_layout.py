"""The layout is a contract: who imports whom, what a stage is called everywhere, what DVC has to know of it."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from setuptools import find_packages  # type: ignore[import-untyped]

from pipelines.artifacts import recipe
from pipelines.bentos import sources as bentos_sources
from pipelines.orchestration import task
from pipelines.settings.document import SECTIONS
from tests.conftest import REPO

IMPORT = re.compile(r"\bfrom ((?:pipelines|models|bento)(?:\.\w+)*) import ([\w, ]+)")
INSTALLED = ("pipelines", "models", "bento")
PACKAGES = ("pipelines", "models", "bento", "dags")
ALLOWED = {"pipelines": {"pipelines", "models"}, "bento": {"bento", "models"}, "models": {"models"}, "dags": {"dags"}}
STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load((REPO / "dvc.yaml").read_text("utf-8"))["stages"]
APART = (  # what commands, servers and Airflow do around the stages
    *("dags", "pipelines/cli", "pipelines/serve", "pipelines/orchestration", "pipelines/release", "pipelines/forget"),
    *("pipelines/feedback", "pipelines/settings/airflow.py", "pipelines/settings/check.py"),
)
TOP_LEVEL = {
    *(".ci", ".dvc", ".dvcignore", ".github", ".gitignore", ".pre-commit-config.yaml"),
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"),
    *("Makefile", "mkdocs.yml", "docs"),
    *("pyproject.toml", "constraints.txt", "params.yaml", "dvc.yaml"),
    *("dags", "pipelines", "models", "bento", "data", "tests", "benchmarks"),
}


def sources(package: str) -> list[Path]:
    return sorted((REPO / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions; `from a import b` gives a and a.b."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def page(stage: str) -> Path:
    """The file that `python -m pipelines.<stage>` runs."""
    folder = REPO / "pipelines" / stage
    return folder / "__main__.py" if folder.is_dir() else folder.with_suffix(".py")


def our_files_of(path: Path) -> set[Path]:
    """The files of ours that a file imports, packages on the way included."""
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] in PACKAGES:
            for n in range(1, len(parts) + 1):
                place = REPO.joinpath(*parts[:n])
                found |= {file for file in (place / "__init__.py", place.with_suffix(".py")) if file.is_file()}
    return found - {path}


def our_files(path: Path) -> set[Path]:
    """The files of ours that a file needs, itself included, transitively."""
    found, queue = set(), [path]
    while queue:
        current = queue.pop()
        if current in found:
            continue
        found.add(current)
        queue += our_files_of(current)
    return found


def test_the_top_level_holds_what_the_layout_names_and_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    found = {line.split("/")[0] for line in listed.splitlines()} - {"dvc.lock"}  # users commit their runs
    assert found <= TOP_LEVEL
    assert {"README.md", "pyproject.toml", "dvc.yaml", "pipelines", "models", "tests", "data", "bento"} <= found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    wrong = [
        (path.relative_to(REPO).as_posix(), name)
        for path in sources(package)
        for name in imports(path)
        if name.split(".")[0] in set(PACKAGES) - ALLOWED[package]
    ]
    assert wrong == []


def test_models_do_no_input_or_output() -> None:
    forbidden = {"pathlib", "os", "shutil", "logging", "ruamel", "yaml", "json", "tempfile", "subprocess", "pyarrow"}
    wrong = [
        (path.name, name) for path in sources("models") for name in imports(path) if name.split(".")[0] in forbidden
    ]
    calls = [
        (path.name, node.func.id)
        for path in sources("models")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "open")
    ]
    assert wrong + calls == []


def test_no_module_of_the_bento_imports_itself_through_others() -> None:
    direct = {path: our_files_of(path) for path in sources("bento")}

    def reached(path: Path) -> set[Path]:
        found, queue = set[Path](), list(direct[path])
        while queue:
            if (file := queue.pop()) not in found:
                found.add(file)
                queue += direct.get(file, set())
        return found

    assert [path for path in direct if path.name != "__init__.py" and path in reached(path)] == []


def names_in_strings(path: Path) -> Iterator[str]:
    """Strings of a file that are the dotted name of one of our modules, or of what is in one; also in code."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for module, names in re.findall(IMPORT, node.value):
                yield from (f"{module}.{name.split()[0]}" for name in names.split(","))
            yield from re.findall(r"\A(?:pipelines|models|bento)(?!\.(?:json|yaml)\Z)(?:\.\w+)+\Z", node.value)


def is_known(name: str) -> bool:
    """Tell whether a dotted name leads to a module, or into one."""
    path = REPO
    for part in name.split("."):
        if (path / f"{part}.py").is_file():
            return True
        path = path / part
    return (path / "__init__.py").is_file()


@pytest.mark.parametrize("package", [*PACKAGES, "tests", "benchmarks"])
def test_modules_that_strings_name_exist(package: str) -> None:
    assert [(path, name) for path in sources(package) for name in names_in_strings(path) if not is_known(name)] == []


@pytest.mark.parametrize("action", task.ACTIONS)
def test_every_action_of_a_task_is_a_function(action: str) -> None:
    tree = ast.parse((REPO / task.ACTIONS[action].replace(".", "/")).with_suffix(".py").read_text("utf-8"))
    assert action in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("package", [*PACKAGES, "README.md"])
def test_files_that_texts_name_exist(package: str) -> None:
    texts = [path.read_text("utf-8") for path in sources(package) or [REPO / package]]
    named = {name for text in texts for name in re.findall(r"\b(?:pipelines|models|bento)/[\w/]+\.py\b", text)}
    assert [name for name in named if not (REPO / name).is_file()] == []


def test_nothing_is_pickled() -> None:
    forbidden = {"pickle", "cloudpickle", "joblib", "torch.save", "torch.load", "dill"}
    wrong = [
        (path, name) for package in PACKAGES for path in sources(package) for name in imports(path) if name in forbidden
    ]
    assert wrong == []


def test_packages_hold_nothing_but_their_docstring() -> None:
    """So no stage depends on them, and an import goes to the module that it means."""
    full = [
        path
        for package in ("pipelines", "models", "bento")
        for path in sources(package)
        if path.name == "__init__.py" and [*map(type, ast.parse(path.read_text("utf-8")).body)] != [ast.Expr]
    ]
    assert full == []


def test_a_stage_is_called_the_same_everywhere() -> None:
    sections = [section for section in SECTIONS if section not in ("release", "airflow", "engine")]
    flat = {path.stem for path in (REPO / "pipelines").glob("*.py") if not path.stem.startswith("_")}
    modules = flat | {path.parent.name for path in (REPO / "pipelines").glob("*/__main__.py")}
    assert list(STAGES) == sections
    assert sorted(STAGES) == sorted(modules)
    for name, stage in STAGES.items():
        assert stage["cmd"] == f"python -m pipelines.{name}"
        assert stage["outs"] == [f"data/{name}"]
        assert name in stage["params"]


@pytest.mark.parametrize("name", STAGES)
def test_every_file_a_stage_imports_is_a_dependency(name: str) -> None:
    listed = STAGES[name]["deps"]
    needed = {path.relative_to(REPO).as_posix() for path in our_files(page(name))}
    missing = {
        file
        for file in needed
        if not file.endswith("__init__.py") and not any(file == dep or file.startswith(f"{dep}/") for dep in listed)
    }
    assert missing == set()


@pytest.mark.parametrize("name", STAGES)
def test_every_code_dependency_is_needed(name: str) -> None:
    """Else a change would rerun a stage that it cannot touch."""
    needed = {path.relative_to(REPO).as_posix() for path in our_files(page(name))}
    if name == "package":  # it packs what the service imports
        needed |= {path.relative_to(REPO).as_posix() for path in our_files(REPO / "bento" / "service.py")}
    code = [dep for dep in recipe.code_of(STAGES[name]) if not dep.endswith("__init__.py")]
    assert [dep for dep in code if not any(file == dep or file.startswith(f"{dep}/") for file in needed)] == []


@pytest.mark.parametrize("name", STAGES)
def test_what_no_stage_computes_reruns_none(name: str) -> None:
    code = recipe.code_of(STAGES[name])
    assert [
        (dep, path) for dep in code for path in APART if f"{path}/".startswith(f"{dep}/") or dep.startswith(path)
    ] == []


def test_the_bento_holds_every_model_file_that_the_service_imports_and_no_other() -> None:
    imported = {path for path in our_files(REPO / "bento" / "service.py") if path.is_relative_to(REPO / "models")}
    assert {path for path in bentos_sources.code(REPO) if path.is_relative_to(REPO / "models")} == imported


@pytest.mark.parametrize("name", STAGES)
def test_what_a_stage_reads_is_an_output_of_an_earlier_stage(name: str) -> None:
    earlier = list(STAGES)[: list(STAGES).index(name)]
    read = [Path(dep).parts[1] for dep in STAGES[name]["deps"] if dep.startswith("data/")]
    assert set(read) <= set(earlier)


def test_an_installation_has_every_package_and_every_file_that_code_reads() -> None:
    described = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    found = {Path(name.replace(".", "/")) for name in find_packages(str(REPO), **described["packages"]["find"])}
    kinds = {pattern.removeprefix("*") for pattern in described["package-data"]["*"]} | {".py"}
    listed = ["git", "ls-files", *INSTALLED]
    files = [Path(line) for line in subprocess.check_output(listed, cwd=REPO, text=True).splitlines()]
    assert {path.parent for path in files if path.suffix == ".py"} == found
    assert {path.suffix for path in files} <= kinds


def test_there_is_no_utils_module() -> None:
    assert [
        path for package in PACKAGES for path in sources(package) if "util" in path.stem or "helper" in path.stem
    ] == []


def test_every_first_line_says_what_a_module_is_for() -> None:
    missing = [
        path.relative_to(REPO).as_posix()
        for package in PACKAGES
        for path in sources(package)
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert missing == []
