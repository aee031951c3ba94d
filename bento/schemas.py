"""What the endpoints take and answer: strict models with bounds, no coercion, no NaN, no unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Id = Annotated[str, Field(min_length=1, max_length=256)]
K = Annotated[int, Field(ge=1, le=100, description="length of the list")]
Weight = Annotated[float, Field(gt=0, le=1000)]
Tail = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="how much of the tail is wanted: 0 none of it for its own sake, 1 as much as makes sense; "
        "null for lists as they were judged",
    ),
]
Value = str | int | bool
Values = Annotated[list[Value], Field(min_length=1, max_length=100)]
Where = Annotated[
    dict[Annotated[str, Field(max_length=256)], Value | Values] | None,
    Field(
        max_length=10, description="columns of items, each with a value it must hold, or several of which any will do"
    ),
]
Segment = Literal["head", "tail", "cold"]
Fallback = Literal["unknown_user"]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class ForUser(Strict):
    """A user of the training data; nobody else is refused, but answered with what is popular, which `fallback` says."""

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
    """Items, each once, and how much each counts."""

    item_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]
    weights: Annotated[list[Weight], Field(min_length=1, max_length=1000)] | None = None  # 1 each where absent

    @model_validator(mode="after")
    def agree(self) -> History:
        check(self.item_ids, self.weights)
        return self


class ForItems(History):
    """A history that no user needs to have, such as the basket of a visitor; its items are never recommended."""

    k: K = 10
    tail: Tail = None
    where: Where = None


class ForText(Strict):
    """A wish or a comment in anybody's words."""

    text: Annotated[str, Field(min_length=1, max_length=10_000)]
    k: K = 10
    tail: Tail = None
    where: Where = None


class SimilarTo(Strict):
    item_id: Id
    k: K = 10


class Why(Strict):
    """An item, and whom it is recommended to: a user, or a history."""

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
    """Raises ValueError where a history names an item twice, or its weights are those of another."""
    if len(set(item_ids)) < len(item_ids):
        raise ValueError("item_ids holds an item twice; name each once and say how much it counts in weights")
    if weights is not None and len(weights) != len(item_ids):
        raise ValueError(f"weights has {len(weights)} numbers, expected {len(item_ids)}: one for each item")


class About(Strict):
    """What every answer says of an item."""

    item_id: str
    title: str
    segment: Segment  # cold: a tail item that nobody had touched when the model was trained
    popularity: int  # users of the training data who touched it


class Item(About):
    score: float


class Answer(Strict):
    model: str  # tag of the Bento: name:version
    fallback: Fallback | None = None  # then items are the most popular, score their training users
    items: list[Item]


class TextAnswer(Strict):
    model: str
    like: list[Item]  # what is described like the text, and so stands for a history; score: how much each counts
    items: list[Item]


class OfUser(Strict):
    user_id: str
    fallback: Fallback | None = None
    items: list[Item]


class Answers(Strict):
    model: str
    answers: list[OfUser]  # in the order of user_ids


class Part(Strict):
    contribution: float  # to the score
    share: float  # of the sizes of all parts together, from -1 to 1


class PastItem(Part):
    item_id: str
    title: str


class TextPart(Part):
    """How much of what the history contributes the item's text alone accounts for."""


class Popularity(Strict):
    users: int  # of the training data
    decile: int  # 1: the most popular tenth of the catalogue


class Explanation(Strict):
    """score = the parts' contributions + baseline + cold."""

    model: str
    item: Item
    parts: list[PastItem]  # the history, the largest contribution first
    baseline: Part  # whatever the history's items; 0 but for models with a perceptron
    cold: Part  # what lifts items that nobody has touched yet
    text: TextPart | None  # None: the item has no text, or its vector is not kept
    popularity: Popularity


class Reranking(Strict):
    method: str
    strength: float


class ModelInfo(Strict):
    model: str
    verdict: str
    reason: str
    digests: dict[str, Any]  # what the verdict speaks of
    files: dict[str, str]  # sha256 of every file of this Bento, verified when the service started
    tail: str
    reranking: Reranking
    figures: dict[str, float]  # of this model on its holdout, as the gate read them
    search: str  # flat, or cells with the recall that was measured when the Bento was built
    texts: str  # whether wishes in words are answered, or why not
    columns: dict[str, int]  # what `where` can filter by, and how many values each has
    n_items: int
    n_tail: int
    n_users: int
