from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gto.api import assign, deregister, register, show, unassign
from gto.tag import parse_name

from pipelines.registry import tags
from pipelines.settings.champion import Champion
from pipelines.workspace import git as repository
from tests.pipelines.releases import Checkout, commit, git

PARAMS = Champion(name="longtail", environment="prod", baseline=None)
WHO: dict[str, Any] = {"author": "Someone", "author_email": "someone@example.org"}


@pytest.fixture
def commits(checkout: Checkout) -> list[str]:
    """Three commits to point versions at."""
    found = []
    for text in "abc":
        Path("notes.txt").write_text(text)
        commit(checkout.root, text)
        found.append(git(checkout.root, "rev-parse", "HEAD"))
    return found


def tag(name: str, target: str, time: int) -> None:
    tags.publish({f"refs/tags/{name}": repository.make_tag(name, target, message="by hand", time=time)}, None)


def versions(commits: list[str], environment: str = "prod") -> None:
    for number, target in enumerate(commits, start=1):
        tag(f"longtail@v{number}.0.0", target, 1000 + number)
        tag(f"longtail#{environment}#{number}", target, 1000 + number)


def serving() -> str | None:
    version = tags.read(PARAMS).serving
    return version.name if version else None


def test_a_repository_without_tags_is_an_empty_registry(checkout: Checkout) -> None:
    registry = tags.read(PARAMS)
    assert (registry.serving, dict(registry.versions), registry.assignments) == (None, {}, ())
    assert (registry.next_version(), registry.assignment_tag()) == ("v1.0.0", "longtail#prod#1")
    with pytest.raises(ValueError, match=r"version 'v1\.0\.0' is not registered; registered: none yet"):
        registry.version("v1.0.0")


def test_versions_are_numbers_and_not_words(commits: list[str]) -> None:
    for version in ("v10.0.0", "v9.0.0", "v2.0.0"):
        tag(f"longtail@{version}", commits[0], 1000)
    assert list(tags.read(PARAMS).versions) == ["v2.0.0", "v9.0.0", "v10.0.0"]
    assert tags.read(PARAMS).next_version() == "v11.0.0"


def test_within_one_second_the_highest_number_serves(commits: list[str]) -> None:
    for number in (1, 2):
        tag(f"longtail@v{number}.0.0", commits[number - 1], 1000)
    for number, target in ((9, commits[0]), (10, commits[1]), (11, commits[0])):
        tag(f"longtail#prod#{number}", target, 1000)
    assert serving() == "v1.0.0"
    assert tags.read(PARAMS).assignment_tag() == "longtail#prod#12"


def test_another_environment_counts_along_but_does_not_serve(commits: list[str]) -> None:
    versions(commits[:2])
    tag("longtail#staging#3", commits[0], 1010)
    assert serving() == "v2.0.0"
    assert tags.read(PARAMS).assignment_tag() == "longtail#prod#4"


def test_another_artifact_whose_name_starts_alike_is_not_read(commits: list[str]) -> None:
    versions(commits[:1])
    tag("longtail-b@v7.0.0", commits[1], 1010)
    tag("longtail-b#prod#7", commits[1], 1010)
    assert list(tags.read(PARAMS).versions) == ["v1.0.0"]


def test_tags_made_by_gto_are_read_as_gto_reads_them(commits: list[str]) -> None:
    for number, target in enumerate(commits[:2], start=1):
        register(".", "longtail", target, version=f"v{number}.0.0", **WHO)
        assign(".", "longtail", "prod", version=f"v{number}.0.0", **WHO)
    assert serving() == "v2.0.0"
    unassign(".", "longtail", stage="prod", version="v2.0.0", **WHO)
    assert serving() == "v1.0.0"


def test_a_deregistered_version_is_gone(commits: list[str]) -> None:
    versions(commits[:2])
    deregister(".", "longtail", version="v2.0.0", **WHO)
    assert list(tags.read(PARAMS).versions) == ["v1.0.0"]
    assert serving() == "v1.0.0"


@pytest.mark.parametrize("delete", [False, True])
def test_the_number_of_a_deregistered_version_is_not_given_again(commits: list[str], delete: bool) -> None:
    """Its tag may be left, and its side ref is."""
    versions(commits[:2])
    tags.publish({f"{tags.SIDE_REFS}/v2.0.0": commits[1]}, None)
    deregister(".", "longtail", version="v2.0.0", delete=delete, **WHO)
    assert list(tags.read(PARAMS).versions) == ["v1.0.0"]
    assert tags.read(PARAMS).next_version() == "v3.0.0"


def test_our_tag_names_parse_in_gto(commits: list[str]) -> None:
    versions(commits)
    registry = tags.read(PARAMS)
    assert parse_name(registry.version_tag(registry.next_version()))["version"] == "v4.0.0"
    assert parse_name(registry.assignment_tag())["counter"] == 4
    assert show(".", "longtail#prod")[0]["version"] == "v3.0.0"


def test_lightweight_tags_are_ignored_as_gto_ignores_them(commits: list[str]) -> None:
    git(Path.cwd(), "tag", "longtail@v1.0.0")
    git(Path.cwd(), "tag", "longtail#prod#1")
    assert serving() is None


def test_only_a_step_to_an_older_version_is_a_rollback(commits: list[str]) -> None:
    versions(commits)
    assert tags.read(PARAMS).rolled_back == frozenset()
    tag("longtail#prod#4", commits[0], 1010)
    assert tags.read(PARAMS).rolled_back == {"v3.0.0"}
    tag("longtail#prod#5", commits[1], 1011)
    assert tags.read(PARAMS).rolled_back == {"v3.0.0"}
    tag("longtail#prod#6", commits[2], 1012)
    assert tags.read(PARAMS).rolled_back == frozenset()


def test_refs_are_created_all_or_none(commits: list[str]) -> None:
    versions(commits[:1])
    new = {"refs/tags/longtail@v2.0.0": commits[1], "refs/tags/longtail#prod#1": commits[1]}
    with pytest.raises(repository.GitError, match="already exists"):
        tags.publish(new, None)
    assert list(tags.read(PARAMS).versions) == ["v1.0.0"]


def test_a_name_with_angle_brackets_makes_a_valid_tag(commits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_NAME", "Some <One>\nElse")
    tag("longtail@v1.0.0", commits[0], 1000)
    assert tags.read(PARAMS).version("v1.0.0").author == "Some OneElse"
