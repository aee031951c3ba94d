"""Find the documentation's blocks of commands: page, line, commands, and the mark of those that are not run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import REPO

PAGES = [
    *(REPO / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((REPO / "docs").rglob("*.md")),
]
MARK = re.compile(r"<!-- (not run|tested elsewhere): (.+?) -->")
FENCE = re.compile(r"```(\w*)(?: title=\"(.+)\")?")


@dataclass
class Block:
    """Commands that are shown together; mark: its kind and its text, None where the commands are to be run."""

    page: Path
    line: int
    commands: list[str]
    mark: tuple[str, str] | None
    answers: list[str] = field(default_factory=list)  # JSON that the page shows after it

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPO)}:{self.line}"


@dataclass
class Fenced:
    """Any block between fences."""

    line: int
    language: str
    title: str | None
    text: str
    above: str  # the line above it


def fenced(text: str) -> Iterator[Fenced]:
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        if start := FENCE.fullmatch(lines[number]):
            end = lines.index("```", number + 1)
            above = lines[number - 1] if number else ""
            yield Fenced(number + 1, start[1], start[2], "\n".join(lines[number + 1 : end]), above)
            number = end
        number += 1


def blocks(page: Path) -> list[Block]:
    """Blocks of commands of a page, each with the JSON that follows it."""
    found: list[Block] = []
    for block in fenced(page.read_text("utf-8")):
        if block.language == "console":
            commands = [each.strip() for each in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]]
            mark = MARK.fullmatch(block.above)
            found.append(Block(page, block.line, commands, (mark[1], mark[2]) if mark else None))
        elif block.language == "json":
            found[-1].answers.append(block.text)
    return found


def files() -> dict[str, str]:
    """Files that pages show whole, by their name, which stands behind the fence."""
    return {
        block.title: block.text + "\n"
        for page in PAGES
        for block in fenced(page.read_text("utf-8"))
        if block.title is not None
    }
