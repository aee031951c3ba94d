"""The six digests of a verdict: model, data, split, tail, params and code.

The gate writes them into the verdict; promote computes them again and refuses to release anything that was not judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pipelines.artifacts import outputs, recipe
from pipelines.artifacts.outputs import DATA
from pipelines.artifacts.recipe import UNJUDGED, of_values
from pipelines.settings.document import SECTIONS, read

JUDGED = [section for section in SECTIONS if section not in ("package", *UNJUDGED)]
LAST = "gate"  # the last stage that affects the verdict
TABLES = ("interactions.parquet", "items.parquet", "users.parquet")  # outputs of ingest


def digests() -> dict[str, str]:
    """Return the sha256 in hex of everything that decided the verdict, as it is in the working tree now."""
    path = DATA / "split" / "holdout.json"
    outputs.verify(path)
    holdout = outputs.read_json(path)
    return {
        "model": outputs.sha256(existing(DATA / "train" / "model.safetensors")),
        "data": data_digest(),
        "split": holdout["holdout_sha256"],
        "tail": holdout["tail_sha256"],
        "params": params_digest(),
        "code": code_digest(),
    }


def data_digest() -> str:
    return of_text("\n".join(outputs.sha256(existing(DATA / "ingest" / name)) for name in TABLES))


def params_digest() -> str:
    """Return the digest of the judged sections' values; comments and the order of keys do not count."""
    document = read()
    values = {section: document[section] for section in JUDGED}
    return of_values(values)


def judging() -> list[str]:
    """Return files and folders of the code that decides a verdict: of the gate, and of the stages it depends on."""
    stages = recipe.stages()
    return sorted({path for name in [*recipe.before(LAST, stages), LAST] for path in recipe.code_of(stages[name])})


def code_digest() -> str:
    """Return the digest of the code in the current folder: stages run from there, not from the installed package."""
    paths = sorted(set(recipe.files(judging())))
    if not paths:
        raise FileNotFoundError(f"none of the files in dvc.yaml is in {Path.cwd()}; run inside the checkout")
    return of_text("\n".join(f"{path.as_posix()} {outputs.sha256(path)}" for path in paths))


def differing(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Return the names with different digests, or with a digest in one of the two alone."""
    return [name for name in {**expected, **found} if expected.get(name) != found.get(name)]


def of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run `dvc repro {path.parent.name}`")
    return path
