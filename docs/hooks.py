"""MkDocs hook: write the pages that nobody writes by hand, and take in those that stand beside README.md."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from ruamel.yaml import YAML

from pipelines.cli import main as cli
from pipelines.settings.check import CLASSES

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)]+)\)")
KEY = re.compile(r"( *)(\w+):(?: |$)")
COMMENT = re.compile(r"(?:^|\s)# (.*)$")
ENTRIES = {  # by section: the setting whose entries are left to the reader, and the class of one
    "validate": ("custom", "Custom"),
    "embed": ("reduce", "Reduce"),
    "gate": ("rules", "Rule"),
    "airflow": ("stages", "Resources"),
}
WIDTH = "100"  # columns of the help texts


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every generated page."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def pages() -> dict[str, str]:
    """Generated pages by file name, in Markdown."""
    beside = {name.lower(): taken_in((ROOT / name).read_text("utf-8")) for name in BESIDE}
    return {"settings.md": settings(), "command-line.md": command_line(), **beside}


def taken_in(text: str) -> str:
    """A page of the top folder with the links that it has in docs/; files that are no page keep their name alone."""

    def link(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        path, _, anchor = target.partition("#")
        if path in BESIDE:
            path = path.lower()
        elif path.startswith("docs/") and path.endswith(".md"):
            path = path.removeprefix("docs/")
        else:
            return words
        return f"[{words}]({path}{'#' * bool(anchor)}{anchor})"

    return LINK.sub(link, text)


@dataclass
class Setting:
    """A key of params.yaml, such as `train.als.epochs`, and what the comments beside and above it say."""

    name: str
    beside: list[str] = field(default_factory=list)
    above: list[str] = field(default_factory=list)


def settings() -> str:
    """A table for each section of params.yaml: key, value in the file, values allowed, and its comment."""
    text = (ROOT / "params.yaml").read_text("utf-8")
    values, said = YAML(typ="safe").load(text), list(read_settings(text))
    names = {setting.name for setting in said}
    parts = [
        "# Settings",
        "This page is generated from `params.yaml` and from the classes that read it. An unknown key, a missing key or "
        "a value of the wrong type is an error that names the key. `dvc repro` reruns only the stages that depend on "
        "the section you change.",
    ]
    for section in CLASSES:
        schema = section.model_json_schema()
        parts += [f"## {section.section}"]
        rows = ["| key | value | allowed | meaning |", "|---|---|---|---|"]
        for setting in said:
            root, *path = setting.name.split(".")
            if root != section.section:
                continue
            if not path:
                parts += [" ".join([*setting.above, *setting.beside])] if setting.beside else []
                continue
            value, node = values[root], schema
            for key in path:
                properties = resolved(schema, node).get("properties")
                if properties is None:  # one entry of a mapping whose keys are free
                    break
                value, node = value[key], properties[key]
            else:
                rows.append(row(schema, node, setting, ".".join(path), value))
                inner = resolved(schema, node).get("properties", {})
                if f"{setting.name}.{next(iter(inner), '')}" not in names:  # written on one line
                    rows += [row(schema, inner[key], Setting(""), ".".join([*path, key]), value[key]) for key in inner]
        parts.append("\n".join(rows))
        if section.section in ENTRIES:
            name, model = ENTRIES[section.section]
            parts += [f"### One entry of {name}", "\n".join(fields(schema, schema["$defs"][model]))]
        if section.section == "gate":
            parts += ["The rules of `params.yaml`:", excerpt(text, "  rules:")]
    return "\n\n".join(parts) + "\n"


def row(schema: Mapping[str, Any], node: Mapping[str, Any], setting: Setting, name: str, value: object) -> str:
    """The row of a key; one that only groups others has no value."""
    is_group = "properties" in resolved(schema, node)
    is_long = isinstance(value, list) and any(isinstance(each, dict) for each in value)
    shown = "" if is_group else "see below" if is_long else code(flow(value))
    allowed = "" if is_group else kind(schema, node)
    return f"| `{name}` | {shown} | {allowed} | {cell(' '.join([*setting.above, *setting.beside]))} |"


def read_settings(text: str) -> Iterator[Setting]:
    """Every key of params.yaml in its order; keys in lists and in flow style are values, not settings."""
    path: list[tuple[int, str]] = []
    found: Setting | None = None
    above: list[str] = []
    column, list_at = -1, None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        comment = COMMENT.search(line)
        if list_at is not None and (indent > list_at or not line.strip()):
            continue
        list_at = None
        if line.lstrip().startswith("#") and comment:
            if found is not None and indent == column:
                found.beside.append(comment[1])  # goes on with the comment of the line above
            else:
                above.append(comment[1])
            continue
        if (match := KEY.match(line)) and len(match[1]) == indent:
            while path and path[-1][0] >= indent:
                path.pop()
            path.append((indent, match[2]))
            if found is not None:
                yield found
            found = Setting(".".join(name for _, name in path), above=above if path[:-1] else [])
            above = []
            if match[2] == "rules":
                list_at = indent
        elif not line.strip():
            above = []
        if comment and found is not None:
            found.beside.append(comment[1])
            column = line.index("# " + comment[1])
    if found is not None:
        yield found


def excerpt(text: str, start: str) -> str:
    """The lines of params.yaml from the one that starts so to the end of its block."""
    lines = text.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(start))
    indent = len(start) - len(start.lstrip())
    block = [lines[first]]
    for line in lines[first + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        block.append(line)
    return "```yaml\n" + "\n".join(block).rstrip() + "\n```"


def fields(schema: Mapping[str, Any], model: Mapping[str, Any]) -> Iterator[str]:
    """A table of what an entry of a list takes."""
    yield "| key | allowed | where it is left out |"
    yield "|---|---|---|"
    for name, node in model["properties"].items():
        absent = code(flow(node["default"])) if "default" in node else "an error"
        yield f"| `{name}` | {kind(schema, node)} | {absent} |"


def resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """A node of a JSON schema, its reference followed."""
    return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def kind(schema: Mapping[str, Any], node: Mapping[str, Any]) -> str:
    """The values that a node of a JSON schema allows, in words."""
    node = resolved(schema, node)
    if "anyOf" in node:
        return " or ".join(kind(schema, each) for each in node["anyOf"])
    if "enum" in node or "const" in node:
        return ", ".join(code(str(value)) for value in node.get("enum", [node.get("const")]))
    if node.get("type") == "array":
        return f"list of {kind(schema, node.get('items', {}))}"
    if node.get("type") == "object" and "properties" not in node:
        of = node.get("additionalProperties")
        return f"mapping to {kind(schema, of)}" if isinstance(of, dict) else "mapping"
    word = {"boolean": "`true`, `false`", "null": "`null`", "string": "text", "object": "entry (see below)"}.get(
        node.get("type", ""), node.get("type", "any value")
    )
    bounds = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
    said = [pattern.format(f"{node[key]:,}") for key, pattern in bounds.items() if key in node]
    said += [f"as in the pattern {code(node['pattern'])}"] if "pattern" in node else []
    said += [f"of up to {node['maxLength']} characters"] if node.get("maxLength", 1) > 1 else []
    word = "one character" if node.get("maxLength") == 1 else word
    return " ".join([word, *([", ".join(said)] if said else [])])


def flow(value: object) -> str:
    """A value as YAML on one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(each)}" for key, each in value.items()) + "}"
    return str(value)


def code(text: str) -> str:
    ticks = "``" if "`" in text else "`"
    return ticks + text + ticks


def cell(text: str) -> str:
    """A comment as a cell of a table; what is between backticks stays as it is."""
    pieces = enumerate(text.split("`"))
    return "`".join(piece if n % 2 else piece.replace("|", "\\|").replace("<", "&lt;") for n, piece in pieces)


def command_line() -> str:
    """The help of `longtail` and of each of its commands."""
    os.environ.update(COLUMNS=WIDTH, NO_COLOR="1")
    parts = [
        "# Command line",
        "This page is generated from the commands themselves: `longtail COMMAND --help` prints the same.",
    ]
    for depth, parser in parsers(cli.parser(), 1):
        parts += [f"{'#' * min(depth + 1, 4)} {parser.prog}", f"```text\n{parser.format_help().rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def parsers(parser: argparse.ArgumentParser, depth: int) -> Iterator[tuple[int, argparse.ArgumentParser]]:
    """A parser and those of its commands, each with its depth."""
    yield depth, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from parsers(each, depth + 1)
