"""`source: table`: the user's own files, named and mapped in params.yaml."""

from __future__ import annotations

from glob import escape
from pathlib import Path

from pipelines.ingest.canonical import interactions, items, judgement, users
from pipelines.ingest.canonical.ledger import Intake
from pipelines.ingest.formats import known
from pipelines.ingest.formats.format import File
from pipelines.ingest.formats.records import Dialect
from pipelines.settings.ingest import Abuse, Table

EXPORTS = "feedback-*.parquet"  # written by `longtail feedback export`; there may be none yet


def collect(intake: Intake, path: Path, params: Table, *, until: str | None, abuse: Abuse) -> None:
    """Read the files below `path`, or `path` itself as interactions alone, into `events`, `items`, `users`."""
    files = files_of(path, params)
    if files["items"]:
        rows = [intake.read("items", file) for file in files["items"]]
        items.collect(intake, rows, params.item_columns, params.text)
    users.collect(intake, [intake.read("users", file) for file in files["users"]], params.user_columns)
    interactions.collect(
        intake,
        files["interactions"],
        judgement.Rules(
            columns=params.columns,
            named_by="ingest.table.columns.{}",
            unit=params.timestamp_unit,
            min_value=params.min_value,
            until=until,
            catalogue=bool(files["items"]),
            abuse=abuse,
        ),
    )
    if not files["items"]:
        items.collect_from_events(intake)


def files_of(path: Path, params: Table) -> dict[str, list[File]]:
    """Return the files of each kind: interactions, items and users."""
    root, interactions = (path.parent, [escape(path.name)]) if path.is_file() else (path, params.interactions)
    dialect = Dialect(params.delimiter, params.quote)
    return {
        kind: [File(file, name(file, root), dialect) for file in find(root, patterns, f"ingest.table.{kind}")]
        for kind, patterns in {"interactions": interactions, "items": params.items, "users": params.users}.items()
    }


def find(root: Path, patterns: list[str], key: str) -> list[Path]:
    """Return the files that match the patterns below `root`, each once, in the order of patterns and names."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root} does not exist; correct ingest.path, or put your files there")
    files: list[Path] = []
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise ValueError(f"{key} has {pattern}, expected a path below ingest.path, which is {root}; correct it")
        found = sorted(root.glob(pattern))
        if broken := [file for file in found if file.is_symlink() and not file.exists()]:
            raise FileNotFoundError(f"{broken[0]} is a broken link; restore its target, or remove the link")
        matches = [file for file in found if file.is_file()]
        if not matches and pattern != EXPORTS:
            there = ", ".join(sorted(p.name for p in root.iterdir())[:10]) or "nothing"
            raise FileNotFoundError(f"{key} has {root / pattern}, which matches no file; {root} contains {there}")
        files += matches
    for file in files:
        known.of(file)
    return list(dict.fromkeys(files))


def name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()
