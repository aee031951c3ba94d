"""Reads `params.yaml` strictly: one frozen model per section, no defaults, unknown or missing keys are errors."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

FILE = Path("params.yaml")
MOST_OPENINGS = 1000  # of lists and mappings, with which a text can still be parsed in C
SECTIONS = (  # of the file
    *("ingest", "validate", "split", "embed", "train", "champion", "evaluate", "gate", "package"),
    *("release", "airflow", "engine"),
)

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Device = Literal["auto", "cpu", "cuda"]
Text = Annotated[str, Field(min_length=1)]
Memory = Annotated[str, Field(pattern=r"^[1-9]\d*(\.\d+)? ?[KMGT]i?B$")]
Dim = Annotated[int, Field(ge=1, le=4096)]
Epochs = Annotated[int, Field(ge=1, le=1000)]
Positive = Annotated[float, Field(gt=0)]
Strengths = list[Annotated[float, Field(gt=0)]]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Section(Strict):
    section: ClassVar[str]


S = TypeVar("S", bound=Section)


def load(section: type[S], path: Path = FILE) -> S:
    """Read one section of params.yaml; every other section's name is checked too."""
    try:
        return section.model_validate(read(path)[section.section])
    except ValidationError as error:
        raise ValueError(explain(error, section.section, path)) from None


def read(path: Path = FILE) -> dict[str, Any]:
    """The whole file as plain values, with exactly the sections that exist."""
    found = document(path)
    for name in found.keys() - set(SECTIONS):
        raise ValueError(f"{path}: unknown section {name!r}; the sections are {', '.join(SECTIONS)}")
    for name in set(SECTIONS) - found.keys():
        raise ValueError(f"{path}: section {name!r} is missing; restore it from version control")
    return found


def document(path: Path) -> dict[str, Any]:
    """A YAML file as plain values by key."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run inside the checkout, or restore it with `git checkout {path}`")
    try:
        values = deepcopy(parsed(path.read_text("utf-8")))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it in that encoding") from None
    except YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}; correct it at that place") from None
    except RecursionError:
        raise ValueError(f"{path} nests lists or mappings too deeply to be read; correct it") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds {type(values).__name__}, expected the sections {', '.join(SECTIONS)}")
    return values


@lru_cache(16)
def parsed(text: str) -> Any:
    """The values of a YAML text; parsing the settings takes time, and promote asks for them often.

    Raises RecursionError for lists and mappings that nest too deeply: the parser in C would end the process.
    """
    openings = sum(map(text.count, ("[", "{", "- ", "? ")))
    return YAML(typ="safe", pure=openings > MOST_OPENINGS).load(text)


def explain(error: ValidationError, section: str, path: Path) -> str:
    """The first problem in words (and how many follow): key, what it says, what was expected."""
    first, *more = error.errors()
    key = ".".join([section, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        problem = f"unknown key {key}; remove it or correct its spelling"
    elif first["type"] == "missing":
        problem = f"key {key} is missing; add it"
    elif first["type"] == "value_error":  # of our own validators, which say the value
        problem = f"{key}: {first['msg'].removeprefix('Value error, ')}; correct it"
    else:
        message = first["msg"]
        problem = f"{key} is {first['input']!r}: {message[0].lower() + message[1:]}; correct it"
    return f"{path}: {problem}" + (f" (and {len(more)} more problems)" if more else "")


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by dotted keys: {'train': {'als': {'epochs': 3}}} as {'train.als.epochs': 3}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{key}.{name}": inner for name, inner in flat(value).items()}
        else:
            found[key] = value
    return found
