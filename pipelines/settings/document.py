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
MOST_OPENINGS = 1000  # limit on starts of lists and mappings for the parser in C
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
    """Read one section of params.yaml; check the names of all sections."""
    try:
        return section.model_validate(read(path)[section.section])
    except ValidationError as error:
        raise ValueError(explain(error, section.section, path)) from None


def read(path: Path = FILE) -> dict[str, Any]:
    """Read the whole file as plain values; raises ValueError for unknown or missing sections."""
    found = document(path)
    for name in found.keys() - set(SECTIONS):
        raise ValueError(f"{path}: unknown section {name!r}; the sections are {', '.join(SECTIONS)}")
    for name in set(SECTIONS) - found.keys():
        raise ValueError(f"{path}: section {name!r} is missing; restore it from version control")
    return found


def document(path: Path) -> dict[str, Any]:
    """Read a YAML file as plain values by key."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run inside the checkout, or restore it with `git checkout {path}`")
    try:
        values = deepcopy(parsed(path.read_text("utf-8")))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it in that encoding") from None
    except YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}; correct it at that position") from None
    except RecursionError:
        raise ValueError(f"{path} nests lists or mappings too deeply; correct it") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} has {type(values).__name__}, expected the sections {', '.join(SECTIONS)}")
    return values


@lru_cache(16)
def parsed(text: str) -> Any:
    """Parse a YAML text, with a cache: parsing the settings takes time, and promote reads them often.

    Raises RecursionError for lists and mappings that nest too deeply: the parser in C would crash the process.
    """
    openings = sum(map(text.count, ("[", "{", "- ", "? ")))
    return YAML(typ="safe", pure=openings > MOST_OPENINGS).load(text)


def explain(error: ValidationError, section: str, path: Path) -> str:
    """Return a sentence on the first problem, with the number of others: key, value, expected value."""
    first, *more = error.errors()
    key = ".".join([section, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        problem = f"unknown key {key}; remove it or correct its spelling"
    elif first["type"] == "missing":
        problem = f"key {key} is missing; add it"
    elif first["type"] == "value_error":  # of the validators here, with the value in their message
        message = first["msg"].removeprefix("Value error, ")
        problem = f"{key}: {message}" + ("" if ";" in message else "; correct it")  # some name a remedy of their own
    else:
        message = first["msg"]
        problem = f"{key} is {first['input']!r}: {message[0].lower() + message[1:]}; correct it"
    return f"{path}: {problem}" + (f" (and {len(more)} more problems)" if more else "")


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested keys: {'train': {'als': {'epochs': 3}}} becomes {'train.als.epochs': 3}."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{key}.{name}": inner for name, inner in flat(value).items()}
        else:
            found[key] = value
    return found
