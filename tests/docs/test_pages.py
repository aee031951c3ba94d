"""The documentation builds, loads nothing from elsewhere, names what is there, and has every setting and command."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from ruamel.yaml import YAML

from pipelines.cli import main as cli
from tests.conftest import REPO
from tests.docs.blocks import PAGES, fenced

SPEC = importlib.util.spec_from_file_location("hooks", REPO / "docs" / "hooks.py")
assert SPEC
assert SPEC.loader
hooks: Any = importlib.util.module_from_spec(SPEC)
sys.modules["hooks"] = hooks  # as MkDocs does
SPEC.loader.exec_module(hooks)
TOP = [page for page in PAGES if page.parent == REPO]
LOADING = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
MOST_BYTES = 150_000  # of a picture


class Loaded(HTMLParser):
    """Addresses that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in LOADING and (address := found.get(LOADING[tag])) and found.get("rel") not in ("canonical", "edit"):
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built documentation; a broken link or anchor ends the build."""
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(REPO / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return folder


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        parser = Loaded()
        parser.feed(page.read_text("utf-8"))
        assert parser.addresses
        assert [each for each in parser.addresses if re.match(r"(\w+:)?//", each)] == [], page
        missing = [
            each for each in parser.addresses if not each.startswith("data:") and not (page.parent / each).exists()
        ]
        assert page.name == "404.html" or missing == [], page


def test_styles_load_nothing_from_elsewhere(site: Path) -> None:
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text("utf-8")) == [], sheet


def test_the_built_pages_hold_the_generated_ones_and_no_code(site: Path) -> None:
    assert {"settings.html", "command-line.html", "changelog.html"} <= {path.name for path in site.iterdir()}
    assert list(site.rglob("*.py")) == []


def keys(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every key of nested mappings, such as `als.epochs`."""
    for key, value in values.items():
        yield path + key
        if isinstance(value, dict) and path + key != "search.space":
            yield from keys(value, f"{path}{key}.")


def test_every_setting_has_a_row_with_its_value_and_comment() -> None:
    text = (REPO / "params.yaml").read_text("utf-8")
    page = hooks.settings()
    _, *parts = re.split("^## (.*)$", page, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    values = YAML(typ="safe").load(text)
    assert sections.keys() == values.keys()
    for section, found in values.items():
        rows = re.findall(r"^\| `([\w.]+)` \|", sections[section].partition("###")[0], re.MULTILINE)
        free = ("columns.text",) if section == "embed" else ()  # a mapping's key, no setting
        assert sorted(rows) == sorted(name for name in keys(found) if name not in free)
    comments = re.findall(r"(?:^|\s)# (.*)$", text, re.MULTILINE)[2:]  # without the title of the file
    shown = " ".join(page.replace("\\|", "|").replace("&lt;", "<").split())
    assert [each for each in comments if " ".join(each.split()) not in shown] == []


def test_every_command_and_option_is_on_the_page_of_commands() -> None:
    page = hooks.command_line()
    programs = [parser.prog for _, parser in hooks.parsers(cli.parser(), 1)]
    assert "longtail airflow worker" in programs
    assert re.findall("^#{2,4} (.*)$", page, re.MULTILINE) == programs
    assert "--grace SECONDS" in page


def test_pages_beside_the_readme_keep_their_links_in_the_documentation() -> None:
    text = "[a](docs/model.md#parts), [b](CHANGELOG.md), [c](params.yaml), [d](https://example.org), [e](#here)"
    assert hooks.taken_in(text) == "[a](model.md#parts), [b](changelog.md), c, [d](https://example.org), [e](#here)"


@pytest.mark.parametrize("page", TOP, ids=lambda page: page.name)
def test_links_of_the_top_level_lead_somewhere(page: Path) -> None:
    """MkDocs looks at those of docs/, and not at README.md."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        assert (REPO / path).is_file(), target
        if anchor:
            headings = re.findall("^#+ (.*)$", (REPO / path).read_text("utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings], (
                target
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPO).as_posix())
def test_files_that_a_page_names_exist(page: Path) -> None:
    folders = "pipelines|models|bento|dags|tests|benchmarks|docs"
    named = re.findall(rf"`((?:{folders})/[\w/.-]+\.\w+)`", page.read_text("utf-8"))
    assert [name for name in named if not (REPO / name).is_file()] == []


def test_the_order_of_imports_is_that_of_the_contracts() -> None:
    contracts = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each.get("containers") == ["pipelines"])
    shown = next(block.text for block in fenced((REPO / "ARCHITECTURE.md").read_text("utf-8")) if "cli\n" in block.text)
    assert [line.split() for line in shown.splitlines()] == [layer.split(" | ") for layer in layers]


def test_the_readme_is_short_and_pictures_are_small() -> None:
    assert len((REPO / "README.md").read_text("utf-8").splitlines()) <= 150
    assert len((REPO / "ARCHITECTURE.md").read_text("utf-8").splitlines()) <= 150
    pictures = [path for path in (REPO / "docs" / "images").iterdir() if path.stat().st_size > MOST_BYTES]
    assert pictures == []
