"""Files that make up a Bento beside its data: the serving code and the settings of packaging."""

from __future__ import annotations

from pathlib import Path

from pipelines.artifacts import outputs
from pipelines.artifacts.recipe import of_values
from pipelines.settings.document import FILE, read

CODE = ("bento/**/*", "models/__init__.py", "models/inference/**/*.py")


def code(checkout: Path) -> list[Path]:
    """Return the files of a checkout that are part of a Bento."""
    found = {path for pattern in CODE for path in checkout.glob(pattern) if path.is_file()}
    return sorted(path for path in found if "__pycache__" not in path.parts)


def digests(checkout: Path = Path()) -> dict[str, str]:
    """Return the sha256 in hex of these files, by path in the checkout, and of the settings of packaging."""
    files = {path.relative_to(checkout).as_posix(): outputs.sha256(path) for path in code(checkout)}
    return files | {f"{FILE}: package": of_values(read()["package"])}
