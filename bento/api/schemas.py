"""Bodies of requests and answers: strict models with bounds, no coercion, no NaN, no unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

Id = Annotated[str, Field(min_length=1, max_length=256)]
K = Annotated[int, Field(ge=1, le=100, description="length of the list")]
Weight = Annotated[float, Field(gt=0, le=1000)]
Tail = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="tail emphasis: 0 ranks by relevance only, 1 is the strongest useful re-ranking; null uses the "
        "released setting",
    ),
]
Value = str | int | bool
Values = Annotated[list[Value], Field(min_length=1, max_length=100)]
Where = Annotated[
    dict[Annotated[str, Field(max_length=256)], Value | Values] | None,
    Field(max_length=10, description="filter: item columns, each with a value to match, or a list of alternatives"),
]
Segment = Literal["head", "tail", "cold"]
Fallback = Literal["unknown_user"]


class Strict(BaseModel):
    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,  # an answer has all fields, null or not
    )


class ForUser(Strict):
    """A user id. Unknown ids are answered with popular items and `fallback: "unknown_user"`."""

    user_id: Id
    k: K = 10
    exclude_seen: bool = True
    tail: Tail = None
    where: Where = None


class ForUsers(Strict):
    """Many users at once, each answered as by `recommend`."""

    user_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]
    k: K = 10
    exclude_seen: bool = True
    tail: Tail = None
    where: Where = None


class History(Strict):
    """Distinct items, with optional weights."""

    item_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]
    weights: Annotated[list[Weight], Field(min_length=1, max_length=1000)] | None = None  # absent: 1 each

    @model_validator(mode="after")
    def agree(self) -> History:
        check(self.item_ids, self.weights)
        return self


class ForItems(History):
    """A history, such as the basket of a visitor; its items are not recommended."""

    k: K = 10
    tail: Tail = None
    where: Where = None


class ForText(Strict):
    """A free-text query."""

    text: Annotated[str, Field(min_length=1, max_length=10_000)]
    k: K = 10
    tail: Tail = None
    where: Where = None


class SimilarTo(Strict):
    item_id: Id
    k: K = 10


class Why(Strict):
    """An item, and the user or the history that it is recommended to."""

    item_id: Id
    user_id: Id | None = None
    item_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)] | None = None
    weights: Annotated[list[Weight], Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def agree(self) -> Why:
        if (self.user_id is None) == (self.item_ids is None):
            raise ValueError("name either user_id or item_ids")
        check(self.item_ids or [], self.weights)
        return self


def check(item_ids: list[str], weights: list[float] | None) -> None:
    """Raise ValueError if a history repeats an item, or has a different number of weights than of items."""
    if len(set(item_ids)) < len(item_ids):
        raise ValueError("item_ids repeats an item; list each item once, and use weights to let it count more")
    if weights is not None and len(weights) != len(item_ids):
        raise ValueError(f"weights has {len(weights)} numbers, expected {len(item_ids)}: one for each item")


Model = Annotated[str, Field(description="tag of the Bento: name:version")]
Reason = Annotated[
    Fallback | None,
    Field(description="null for a ranking by the user's history; otherwise the reason for recommending popular items"),
]


class About(Strict):
    """An item of the catalogue."""

    item_id: str
    title: str
    segment: Annotated[Segment, Field(description="cold: a tail item without interactions in the training data")]
    popularity: Annotated[int, Field(description="users of the training data who interacted with it")]


class Item(About):
    score: Annotated[float, Field(description="where `fallback` is set, the number of training users of the item")]


class Answer(Strict):
    model: Model
    fallback: Reason = None
    items: list[Item]


class TextAnswer(Strict):
    model: Model
    like: Annotated[
        list[Item],
        Field(description="items with the descriptions nearest to the text, used as the history; score: the weight"),
    ]
    items: list[Item]


class OfUser(Strict):
    user_id: str
    fallback: Reason = None
    items: list[Item]


class Answers(Strict):
    model: Model
    answers: Annotated[list[OfUser], Field(description="in the order of user_ids")]


class Part(Strict):
    contribution: Annotated[float, Field(description="summand of the score")]
    share: Annotated[float, Field(description="of the sum of the absolute contributions, from -1 to 1")]


class PastItem(Part):
    item_id: str
    title: str


class TextPart(Part):
    """The share of the history's contribution that the item's text alone accounts for."""


class Popularity(Strict):
    users: Annotated[int, Field(description="of the training data")]
    decile: Annotated[int, Field(description="1: the most popular tenth of the catalogue")]


class Explanation(Strict):
    """An item's score as a sum: the contributions of the parts + baseline + cold."""

    model: Model
    item: Item
    parts: Annotated[list[PastItem], Field(description="the history, the largest contribution first")]
    baseline: Annotated[Part, Field(description="independent of the history; 0 except for models with a perceptron")]
    cold: Annotated[Part, Field(description="bonus for items without interactions")]
    text: Annotated[TextPart | None, Field(description="null: the item has no text, or its vector is not kept")]
    popularity: Popularity


class Reranking(Strict):
    method: str
    strength: float


class ModelInfo(Strict):
    model: Model
    version: Annotated[
        str | None, Field(description="version in the registry; null if the Bento runs without `longtail serve`")
    ]
    verdict: str
    reason: str
    digests: Annotated[dict[str, Any], Field(description="sha256 of the judged data, settings and code")]
    files: Annotated[
        dict[str, str],
        Field(description="sha256 of every file of this Bento, verified when the service started"),
    ]
    tail: str
    reranking: Reranking
    figures: Annotated[
        dict[str, float], Field(description="metrics of this model on its holdout, for the release gate")
    ]
    search: Annotated[
        str, Field(description="flat (exact), or cells (approximate) with the recall measured when the Bento was built")
    ]
    texts: Annotated[str, Field(description="state of free-text queries, or the reason why they are not answered")]
    columns: Annotated[dict[str, int], Field(description="columns for `where`, each with its number of values")]
    n_items: int
    n_tail: int
    n_users: int


class Found(Strict):
    items: list[About]


class FoundUsers(Strict):
    users: list[str]


class HistoryOfUser(Strict):
    user_id: str
    n_items: Annotated[int, Field(description="all items of the history, shown or not")]
    items: Annotated[list[About], Field(max_length=100)]


class Lookup(Strict):
    item_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]


class LookedUp(Strict):
    n_items: int
    items: Annotated[list[About], Field(description="in the order of item_ids")]


class ColumnValue(Strict):
    value: str
    items: Annotated[int, Field(description="number of items with this value")]


class ColumnValues(Strict):
    name: str
    n_values: Annotated[int, Field(description="all values of the column, listed or not")]
    values: Annotated[list[ColumnValue], Field(max_length=100, description="those of the most items first")]


class Columns(Strict):
    columns: list[ColumnValues]


class Available(Strict):
    available: bool


class Readiness(BaseModel):
    """An answer of /readyz; `model` and `reason` are sent to authorized callers only."""

    status: Literal["ready", "draining"]
    feedback: Annotated[Literal["ok", "degraded"], Field(description="degraded: events are not stored, or not used")]
    model: str | SkipJsonSchema[None] = None
    reason: Annotated[str | SkipJsonSchema[None], Field(description="the problem of feedback in a sentence")] = None
