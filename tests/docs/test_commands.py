"""Every command of the documentation runs in a demo checkout, or bears a mark: why not, or which test runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clones import Clone
from tests.conftest import REPO
from tests.docs.blocks import PAGES, Block, blocks, files
from tests.pipelines.served_versions import Serving
from tests.test_pipeline import TINY

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in BLOCKS if block.mark is None]
BEGUN = ("make run", "longtail serve &")  # what the demo checkout below has done already
ASSIGNMENT = re.compile(r"(?:export )?\w+=")
AUTHOR = {
    f"GIT_{role}_{what}": f"a{what}@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


@dataclass
class Demo:
    """A checkout in which `make run` has promoted a first version, and `longtail serve` serves it."""

    clone: Clone
    serving: Serving

    def run(self, command: str) -> str:
        """Standard output of a command, which must succeed; curl fails where the server refuses."""
        command = command.replace("localhost:3000", self.serving.url.removeprefix("http://"))
        command = command.replace("curl -s", "curl -s --fail-with-body")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.clone.root,
            env={**self.clone.env, **AUTHOR},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\nexited {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    clone = Clone(tmp_path_factory.mktemp("docs") / "longtail")
    (clone.root / ".venv").symlink_to(sys.prefix)  # as after `make setup`
    with (clone.root / ".git" / "info" / "exclude").open("a") as excluded:
        excluded.write(".venv\n")
    for name, text in files().items():
        (clone.root / name).write_text(text, "utf-8")
    clone.params(TINY)
    printed = clone.run("make", "--old-file=.venv/.installed", "run")
    assert "v1.0.0 serves now, as the first version" in printed, printed
    serving = Serving(clone.root, Path(clone.env["HOME"]), env=clone.env)
    try:
        serving.wait_for("serving v1.0.0")
        yield Demo(clone, serving)
    finally:
        serving.end()


@pytest.mark.slow
@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_of_commands_runs_and_answers_as_the_page_shows(demo: Demo, block: Block) -> None:
    printed = [demo.run(command) for command in block.commands if command.partition("  #")[0].strip() not in BEGUN]
    for text in block.answers:
        assert shape(json.loads(text)) == shape(json.loads(printed[-1]))


@pytest.mark.slow
def test_stages_write_the_files_that_the_architecture_names(demo: Demo) -> None:
    text = (REPO / "ARCHITECTURE.md").read_text("utf-8").partition("## Data flow")[2].partition("## Manifests")[0]
    rows = re.findall(r"^\| (\w+) \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)[1:]  # without the head
    named = {stage: re.findall(r"`([\w.]+)`", written) for stage, written in rows}
    assert named.keys() == {path.parent.name for path in demo.clone.root.glob("data/*/manifest.json")}
    missing = [
        (stage, name)
        for stage, names in named.items()
        for name in names
        if not (demo.clone.root / "data" / stage / name).is_file()
    ]
    assert missing == []


def shape(value: Any) -> Any:
    """The keys of a JSON value; of a list, those of its elements, which have to be alike."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        shapes = [shape(each) for each in value]
        assert all(each == shapes[0] for each in shapes)
        return shapes[:1]
    return None


@pytest.mark.parametrize("block", [block for block in BLOCKS if block not in RUN], ids=str)
def test_a_marked_block_has_a_reason_or_a_test_that_runs_it(block: Block) -> None:
    assert block.commands
    assert block.mark is not None
    kind, said = block.mark
    assert block.answers == []  # nobody would compare them
    if kind == "not run":
        assert len(said.split()) > 2
        return
    paths = [REPO / name for name in said.split(", ")]
    assert [path for path in paths if not path.is_file()] == []
    texts = "\n".join(path.read_text("utf-8") for path in paths)
    reads_it = f'"{block.page.relative_to(REPO)}"' in texts
    assert [each for each in block.commands if not (reads_it or mentions(texts, each))] == []


def mentions(text: str, command: str) -> bool:
    """Return whether a test names the first words of a command, as one text or as a list of arguments."""
    if ASSIGNMENT.match(command):
        return True  # of no command
    words = re.match(r"[a-z]+(?: [a-z]+){0,2}", command)
    assert words is not None, command
    program, *others = words[0].split()
    names = r"(?:longtail|pipelines\.cli\.main)" if program == "longtail" else program
    return re.search(r"\W+".join([names, *others]), text) is not None


def test_every_page_with_a_shell_prompt_has_it_in_a_block_that_is_looked_at() -> None:
    for page in PAGES:
        shown = re.findall(r"^\$ ", page.read_text("utf-8"), re.MULTILINE)
        assert len(shown) == sum(len(block.commands) for block in blocks(page)), page
