"""`params.yaml`, read strictly: one frozen model per section, no defaults, unknown or missing keys are errors."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipelines.privacy.shown import credential

FILE = Path("params.yaml")
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


class Demo(Strict):
    users: Annotated[int, Field(ge=10)]
    items: Annotated[int, Field(ge=20)]
    events: Annotated[int, Field(ge=100)]
    new_items: Annotated[int, Field(ge=0)]
    dirty_rows: Annotated[int, Field(ge=0)]
    seed: Seed


class MovieLens(Strict):
    min_rating: float
    tags: bool


class TableColumns(Strict):
    user_id: Text
    item_id: Text
    value: Text | None
    timestamp: Text | None


class UserColumns(Strict):
    user_id: Text


class ItemColumns(Strict):
    item_id: Text
    title: Text


class Table(Strict):
    interactions: Annotated[list[Text], Field(min_length=1)]
    delimiter: Annotated[str, Field(min_length=1, max_length=4)]
    quote: Annotated[str, Field(min_length=1, max_length=1)] | None
    columns: TableColumns
    min_value: float | None
    timestamp_unit: Literal["s", "ms", "us", "iso"]
    users: list[Text]
    user_columns: UserColumns
    items: list[Text]
    item_columns: ItemColumns
    text: Text


class Abuse(Strict):
    max_per_day: Count | None
    max_per_minute: Count | None
    min_entropy: Annotated[float, Field(gt=0)] | None
    entropy_from: Annotated[int, Field(ge=2)]


class Ingest(Section):
    section = "ingest"
    source: Literal["demo", "movielens", "table"]
    path: Text
    url: Annotated[str, Field(pattern="^https?://")] | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    duplicates: Literal["last", "max", "sum"]
    max_rejected: Share
    expected_rows: Count | None
    until: Annotated[str, Field(pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$")] | None
    memory_limit: Memory
    pseudonyms: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")] | None
    abuse: Abuse
    demo: Demo
    movielens: MovieLens
    table: Table

    @model_validator(mode="after")
    def url_holds_no_secret(self) -> Ingest:
        if self.url is not None and (what := credential(self.url)):
            raise ValueError(
                f"url holds {what}, which dvc.lock and every release would hold as well; put user and password into "
                "~/.netrc, or a token into an environment variable and ?token=${NAME} into the address"
            )
        return self


class Tolerances(Strict):
    max_shrink: Share
    max_heavy_user: Annotated[float, Field(ge=1)]
    max_head_gain: Share
    max_value_shift: Share


class Custom(Strict):
    code: Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]
    table: Literal["interactions", "items", "users"]
    expect: Annotated[str, Field(pattern="^expect_[a-z_]+$")]
    kwargs: dict[str, Any]
    says: Text
    remedy: Text


class Validate(Section):
    section = "validate"
    min_interactions: Count
    min_users: Count
    min_items: Count
    min_expectations: Count
    max_empty_text: Share
    max_user_share: Share
    max_same_text: Share
    max_untouched_items: Share
    max_quarantined: Share
    profile: Tolerances
    custom: list[Custom]
    warn: list[Text]
    memory_limit: Memory


class Split(Section):
    section = "split"
    strategy: Literal["auto", "time", "hash"]
    valid: Annotated[float, Field(gt=0, lt=0.5)]
    test: Annotated[float, Field(gt=0, lt=0.5)]
    cold_items: Annotated[float, Field(ge=0, lt=0.5)]
    head: Annotated[float, Field(gt=0, lt=1)]
    seed: Seed
    memory_limit: Memory


class Reduce(Strict):
    method: Literal["pca", "whiten"]
    dimensions: Annotated[int, Field(ge=1)]


class Embed(Section):
    section = "embed"
    model: Text
    revision: Text | None
    columns: Annotated[dict[Text, Annotated[float, Field(gt=0, le=1000)]], Field(min_length=1)]
    images: dict[Text, Text]
    prompt: str | None
    max_length: Annotated[int, Field(ge=1, le=8192)]
    dimensions: Annotated[int, Field(ge=1)] | None
    reduce: Reduce | None
    precision: Literal["auto", "fp32", "bf16"]
    batch_tokens: Count
    near_duplicates: Annotated[float, Field(gt=0, le=1)] | None
    cache_gigabytes: Annotated[float, Field(gt=0)]
    device: Device


class Rerank(Strict):
    max_ndcg_loss: Share
    popularity: Strengths
    xquad: Strengths
    slots: Strengths


class Als(Strict):
    embedding_dim: Dim | None
    epochs: Epochs
    unobserved_weight: Annotated[float, Field(gt=0, le=10)]
    regularization: Annotated[float, Field(gt=0, le=1000)]
    frequency_exponent: Annotated[float, Field(ge=0, le=2)]
    cg_steps: Annotated[int, Field(ge=1, le=100)]


class Mf(Strict):
    embedding_dim: Dim
    epochs: Epochs
    learning_rate: Positive
    unobserved_weight: Annotated[float, Field(gt=0, le=10)]
    regularization: Annotated[float, Field(ge=0, le=1000)]
    batch_pairs: Count


class Bpr(Strict):
    embedding_dim: Dim
    epochs: Epochs
    learning_rate: Positive
    regularization: Annotated[float, Field(ge=0, le=1000)]
    batch_pairs: Count


class TwoTower(Strict):
    embedding_dim: Dim
    hidden: Dim
    epochs: Epochs
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0, le=1000)]
    id_dropout: Annotated[float, Field(ge=0, lt=1)]
    batch_pairs: Count
    negatives: Count


class LightGcn(Strict):
    embedding_dim: Dim
    layers: Annotated[int, Field(ge=1, le=10)]
    epochs: Epochs
    learning_rate: Positive
    regularization: Annotated[float, Field(ge=0, le=1000)]
    batch_pairs: Count


class Search(Strict):
    trials: Annotated[int, Field(ge=0, le=10_000)]
    space: dict[str, Annotated[list[float | int], Field(min_length=2, max_length=2)]]
    tail_weight: Annotated[float, Field(ge=0)]
    min_tail_ndcg: Share

    @model_validator(mode="after")
    def ordered(self) -> Search:
        for name, (low, high) in self.space.items():
            if not low < high:
                raise ValueError(f"space.{name} is [{low}, {high}], expected the lower bound first")
        return self


ANCHOR = ("anchor", "anchor_ridge", "anchor_neighbours")


class Train(Section):
    section = "train"
    model: Literal["als", "mf", "bpr", "two_tower", "light_gcn"]
    als: Als
    mf: Mf
    bpr: Bpr
    two_tower: TwoTower
    light_gcn: LightGcn
    anchor: Share
    anchor_ridge: Positive
    anchor_neighbours: Share
    cold_max_ndcg_loss: Share
    rerank: Rerank
    search: Search
    world_size: Annotated[int, Field(ge=1, le=1024)]
    seed: Seed
    device: Device

    def chosen(self) -> Als | Mf | Bpr | TwoTower | LightGcn:
        """Hyper-parameters of the model that `model` names."""
        section: Als | Mf | Bpr | TwoTower | LightGcn = getattr(self, self.model)
        return section

    def settings(self) -> dict[str, Any]:
        """What a search may change, flat: the chosen model's hyper-parameters and those of the text anchor."""
        return {**self.chosen().model_dump(), **{name: getattr(self, name) for name in ANCHOR}}

    def integers(self) -> set[str]:
        """Names of `settings` that are whole numbers."""
        return {name for name, value in self.settings().items() if isinstance(value, int)}

    def with_settings(self, changes: dict[str, Any]) -> Train:
        """The same with other values of some of `settings`. Raises ValueError where one is out of its bounds."""
        values = self.model_dump()
        for name, value in changes.items():
            target = values[self.model] if name in values[self.model] else values
            target[name] = value
        return Train.model_validate(values)

    @model_validator(mode="after")
    def can_be_shared(self) -> Train:
        if self.world_size > 1 and self.model != "als":
            raise ValueError(f"world_size is {self.world_size}, expected 1 for model {self.model}: only als is shared")
        if self.world_size > 1 and self.search.trials:
            raise ValueError(
                f"world_size is {self.world_size} and search.trials {self.search.trials}, expected one of them alone: "
                "search in one process, on less data where it is much, and train what was found in several"
            )
        return self

    @model_validator(mode="after")
    def can_be_searched(self) -> Train:
        if not self.search.trials:
            return self
        known = self.settings().keys() - {"epochs"}
        if unknown := self.search.space.keys() - known:
            raise ValueError(
                f"search.space names {', '.join(sorted(unknown))}, expected settings of {self.model}: "
                f"{', '.join(sorted(known))}"
            )
        for name, (low, high) in self.search.space.items():
            start = self.settings()[name]
            if start is not None and not low <= start <= high:
                raise ValueError(
                    f"search.space.{name} is [{low}, {high}], expected a range that holds the value to start from, "
                    f"{start}"
                )
        return self


class Champion(Section):
    section = "champion"
    name: Annotated[str, Field(pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    environment: Annotated[str, Field(pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")]
    baseline: Annotated[str, Field(pattern=r"^v[0-9]+\.[0-9]+\.[0-9]+$")] | None


class Slices(Strict):
    users: list[Text]
    items: list[Text]
    small: Count


class Evaluate(Section):
    section = "evaluate"
    k: Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Field(min_length=1)]
    references: list[Literal["popularity", "random", "content"]]
    slices: Slices
    batch_users: Count
    seed: Seed
    device: Device

    @model_validator(mode="after")
    def ascending(self) -> Evaluate:
        if self.k != sorted(set(self.k)):
            raise ValueError(f"k is {self.k}, expected list lengths in ascending order, each once")
        return self


class Rule(Strict):
    """One bound on one metric: `min` or `max` of its value, or `min_gain` / `max_loss` against a reference."""

    name: Text
    metric: Text
    reference: Text | None = None
    slice: Text | None = None
    min: float | None = None
    max: float | None = None
    min_gain: Annotated[float, Field(ge=0)] | None = None
    max_loss: Annotated[float, Field(ge=0)] | None = None
    relative: bool = False
    tolerance: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def one_bound(self) -> Rule:
        bounds = [key for key in ("min", "max", "min_gain", "max_loss") if getattr(self, key) is not None]
        if len(bounds) != 1:
            raise ValueError(
                f"rule {self.name!r} has the bounds {bounds}, expected exactly one of min, max, min_gain, max_loss"
            )
        if (bounds[0] in ("min_gain", "max_loss")) != (self.reference is not None):
            raise ValueError(f"rule {self.name!r}: min_gain and max_loss need a reference, min and max take none")
        if self.relative and self.reference is None:
            raise ValueError(f"rule {self.name!r}: relative needs a reference, min and max are absolute")
        return self

    def of(self) -> str:
        return figure(self.metric, self.slice)


def figure(metric: str, users: str | None) -> str:
    """Name of what a rule bounds: a metric, of all users or of a slice."""
    return f"{metric} of {users}" if users else metric


class Attempts(Strict):
    """How candidates that are judged one after another on a holdout share the level."""

    rule: Literal["spend", "count"]
    half: Annotated[int, Field(ge=1, le=10_000)]


class Gate(Section):
    section = "gate"
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    correction: Literal["none", "holm"]
    seen_holdout: Literal["hold", "skip"]
    attempts: Attempts
    rules: list[Rule]

    @model_validator(mode="after")
    def distinct_names(self) -> Gate:
        names = [rule.name for rule in self.rules]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several rules are named {', '.join(repeated)}; verdicts name rules, give each its own")
        return self

    @model_validator(mode="after")
    def best_can_be_found(self) -> Gate:
        """Which release is the best one by a figure is told by its comparisons with champions."""
        compared = {rule.of() for rule in self.rules if rule.reference == "champion"}
        for rule in self.rules:
            if rule.reference == "best" and rule.of() not in compared:
                raise ValueError(
                    f"rule {rule.name!r} compares {rule.of()} with the best release, which is found by comparisons "
                    f"with the champion, and no rule makes one; add a rule for {rule.of()} with reference: champion"
                )
        return self


class Package(Section):
    section = "package"
    ready_timeout: Annotated[int, Field(ge=1, le=3600)]
    encoder: Literal["half", "int8", "static"]


class Release(Section):
    section = "release"
    remote: Text | None
    signed: bool

    @model_validator(mode="after")
    def remote_holds_no_secret(self) -> Release:
        if self.remote is not None and (what := credential(self.remote)):
            raise ValueError(
                f"remote holds {what}, which every release would hold as well; name a remote of `git remote add`"
            )
        return self


class Resources(Strict):
    """Where Airflow runs a stage; what is left out is Airflow's default."""

    queue: Text | None = None
    pool: Text | None = None
    executor_config: dict[str, Any] | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None


class Deployment(Strict):
    host: Text
    port: Annotated[int, Field(ge=1, le=65535)]
    ready_timeout: Annotated[int, Field(ge=1, le=3600)]


class Airflow(Section):
    section = "airflow"
    schedule: Text | None
    watch: Text | None
    parallel_runs: Annotated[int, Field(ge=1, le=1000)]
    retries: Annotated[int, Field(ge=0, le=100)]
    retry_delay: Annotated[float, Field(ge=0)]
    timeout: Annotated[float, Field(gt=0)]
    free_gigabytes: Annotated[float, Field(ge=0)]
    workers: Literal["local", "remote"]
    deployment: Deployment
    stages: dict[
        Literal["ingest", "validate", "split", "embed", "train", "champion", "evaluate", "gate", "package"], Resources
    ]


class Engine(Section):
    section = "engine"
    name: Literal["duckdb", "spark"]
    master: Text
    settings: dict[str, str]


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
    """The values of a YAML text; parsing the settings takes a tenth of a second, and promote asks for them often."""
    return YAML(typ="safe").load(text)


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
