"""The changelog has a section for the version of the project, and what comes after it stands above."""

from __future__ import annotations

import re
import tomllib
from datetime import date

from tests.conftest import REPO

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
TEXT = (REPO / "CHANGELOG.md").read_text("utf-8")
HEADINGS = re.findall("^## (.*)$", TEXT, re.MULTILINE)


def test_the_newest_section_is_the_version_of_the_project() -> None:
    version = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert HEADINGS[0] == "[Unreleased]"
    assert HEADINGS[1].startswith(f"[{version}] - ")


def test_versions_have_dates_and_both_descend() -> None:
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", each) for each in HEADINGS[1:]]
    assert all(found)
    versions = [([int(part) for part in match.groups()[:3]], date.fromisoformat(match[4])) for match in found if match]
    assert versions == sorted(versions, reverse=True)


def test_entries_stand_under_the_kinds_of_keep_a_changelog() -> None:
    assert set(re.findall("^### (.*)$", TEXT, re.MULTILINE)) <= KINDS
