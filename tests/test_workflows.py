"""Workflows, hooks and the settings of Dependabot are checked as far as that goes offline."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML

from tests.conftest import REPO

GITHUB = REPO / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
HOOKS = REPO / ".pre-commit-config.yaml"
PROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
VERSION = re.compile(r"Programming Language :: Python :: (3\.\d+)")


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text("utf-8"))


def jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in read(path)["jobs"].items():
            yield f"{path.name} {name}", job


def promised() -> list[str]:
    """The versions of Python that the classifiers name, ascending."""
    return [match[1] for each in PROJECT["classifiers"] if (match := VERSION.fullmatch(each))]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text("utf-8"), re.MULTILINE))


def commands(path: Path) -> Iterator[str]:
    """Every line of every `run:` of a workflow or an action."""
    document = read(path)
    parts = document["jobs"].values() if "jobs" in document else [document["runs"]]
    for part in parts:
        for step in part["steps"]:
            yield from step.get("run", "").splitlines()


def test_the_classifiers_are_the_versions_that_the_project_admits() -> None:
    admitted = SpecifierSet(PROJECT["requires-python"])
    assert promised()
    assert [f"3.{minor}" for minor in range(30) if f"3.{minor}.99" in admitted] == promised()


def test_the_tests_run_on_every_version_that_the_project_promises() -> None:
    assert [job["strategy"]["matrix"]["python"] for _, job in jobs() if "strategy" in job] == [promised()]


def test_the_makefile_and_the_readme_name_the_same_versions() -> None:
    oldest, newest = promised()[0], promised()[-1]
    bounds = [f"(3, {oldest[2:]})", f"(3, {int(newest[2:]) + 1})"]
    assert " <= v < ".join(bounds) in (REPO / "Makefile").read_text("utf-8")
    for page in ("README.md", "docs/quick-start.md"):
        assert f"Linux with Python {oldest} to {newest}" in (REPO / page).read_text("utf-8"), page


def test_ruff_and_mypy_check_for_the_oldest_version() -> None:
    tools = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]
    assert tools["mypy"]["python_version"] == promised()[0]
    assert tools["ruff"]["target-version"] == f"py{promised()[0].replace('.', '')}"


def test_every_container_and_installation_has_a_promised_version() -> None:
    allowed = {*promised(), "${{ matrix.python }}"}
    for name, job in jobs():
        image = re.fullmatch(r"python:(.+)-bookworm", job["container"])
        installed = [step["with"]["python"] for step in job["steps"] if step.get("uses", "").endswith("/prepare")]
        assert image, name
        assert image[1] in allowed, name
        assert installed == [image[1]], name


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.relative_to(GITHUB).as_posix())
def test_what_is_run_is_there(path: Path) -> None:
    run = list(commands(path))
    assert run
    for command in run:
        if target := re.match(r"make (\S+)", command):
            assert target[1] in targets(), command
        elif command.startswith(".ci/"):
            assert os.access(REPO / command, os.X_OK), command
    local = re.findall(r"uses: \./(\S+)", path.read_text("utf-8"))
    assert [name for name in local if not (REPO / name / "action.yml").is_file()] == []


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=lambda path: path.relative_to(GITHUB).as_posix())
def test_actions_of_others_are_pinned_to_a_commit(path: Path) -> None:
    used = [line.strip().removeprefix("- ") for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not line.startswith("uses: ./") and not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_may_only_read_end_by_themselves_and_leave_no_credentials(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        assert 0 < job["timeout-minutes"] <= 120
        (checkout,) = (step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@"))
        assert checkout["with"]["persist-credentials"] is False


def test_hooks_run_the_tools_of_make_lint_without_the_network() -> None:
    (local,) = read(HOOKS)["repos"]
    assert local["repo"] == "local"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    tools = [hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in local["hooks"]]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (REPO / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe
    assert tools == re.findall(r"^\t@(\S+)", recipe[1], re.MULTILINE)


def test_dependabot_reads_the_pinned_versions_and_keeps_below_the_bounds_of_the_project() -> None:
    packages, actions = read(GITHUB / "dependabot.yml")["updates"]
    assert all({"groups", "schedule"} <= update.keys() for update in (packages, actions))
    assert packages["directories"] == ["/", "/bento"]
    assert actions["directories"] == ["/", *(f"/{path.parent.relative_to(REPO)}" for path in ACTIONS)]
    for pins in ("constraints.txt", "bento/requirements.txt"):  # any other line would hide the file from Dependabot
        lines = (REPO / pins).read_text("utf-8").splitlines()
        assert [line for line in lines if not re.fullmatch(r"(?:#.*|[\w.-]+==[\w.]+)?", line)] == [], pins
    extras = PROJECT["optional-dependencies"].values()
    named = [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]
    bounds = {match[1]: f">={match[2]}" for name in named if (match := re.fullmatch(r"([\w-]+)<([\d.]+)", name))}
    assert {each["dependency-name"]: each["versions"][0] for each in packages["ignore"]} == bounds
