"""Edits of a params.yaml line by line: parsing and writing the whole file with its comments takes a tenth of a second.

Most tests of stages change a few keys.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML

Span = tuple[int, int]  # of lines, the end excluded


def edited(text: str, keys: Sequence[str], value: Any) -> str:
    """The text of a mapping of mappings with another value at a path of keys; all other values are as before."""
    lines, written = text.splitlines(), plain(value)
    span: Span = (0, len(lines))
    for key in keys:
        found = entry(lines, span, key)
        if found is None or written is None:
            return written_anew(text, keys, value)
        span = found
    indentation = lines[span[0]].partition(keys[-1])[0]
    return "\n".join([*lines[: span[0]], f"{indentation}{keys[-1]}: {written}", *lines[span[1] :], ""])


def entry(lines: Sequence[str], within: Span, key: str) -> Span | None:
    """Lines of a key and its value among the lines of a block mapping; None where it is no such mapping or key."""
    start, end = within
    first = start if end - start == len(lines) else start + 1  # below the line of the mapping's own key
    depths = {n: indentation(lines[n]) for n in range(first, end) if has_content(lines[n])}
    if not depths:
        return None
    depth = next(iter(depths.values()))
    opening = re.compile(rf" {{{depth}}}{re.escape(key)}:( |$)")
    begin = next((n for n in depths if opening.match(lines[n])), None)
    if begin is None:
        return None
    after = (n for n, d in depths.items() if n > begin and d <= depth and not lines[n].startswith(" " * depth + "- "))
    return begin, next(after, end)


def indentation(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def has_content(line: str) -> bool:
    return line.strip() != "" and not line.lstrip().startswith("#")


def plain(value: Any) -> str | None:
    """JSON that YAML reads as the same value; None where it might not."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return None
    exponent = re.search(r"\de[-+]?\d", text)  # YAML 1.1 wants a dot before it
    return text if text.isprintable() and not exponent and json.loads(text) == value else None


def written_anew(text: str, keys: Sequence[str], value: Any) -> str:
    """The same by way of the whole document, its comments included."""
    yaml, target = YAML(), io.StringIO()
    document = yaml.load(text)
    node = document
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    yaml.dump(document, target)
    return target.getvalue()
