"""Templates of a folder beside `base.html`, which gives every page its style, title and table of contents."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent


@cache
def environment(folder: Path) -> Environment:
    """Return the templates of a folder; they escape every text, and raise an error for an undefined name."""
    found = Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    found.globals["style"] = Markup((FOLDER / "style.css").read_text("utf-8"))
    return found
