"""What the endpoints take and answer: strict models with bounds, no coercion, no NaN, no unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Id = Annotated[str, Field(min_length=1, max_length=256)]
K = Annotated[int, Field(ge=1, le=100, description="length of the list")]
Weight = Annotated[float, Field(gt=0, le=1000)]
Segment = Literal["head", "tail", "cold"]
Fallback = Literal["unknown_user"]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class ForUser(Strict):
    user_id: Id
    k: K = 10
    exclude_seen: bool = True


class ForItems(Strict):
    """A history that no user needs to have, such as the basket of a visitor; its items are never recommended."""

    item_ids: Annotated[list[Id], Field(min_length=1, max_length=1000)]
    weights: Annotated[list[Weight], Field(min_length=1, max_length=1000)] | None = None  # 1 each where absent
    k: K = 10

    @model_validator(mode="after")
    def agree(self) -> ForItems:
        if len(set(self.item_ids)) < len(self.item_ids):
            raise ValueError("item_ids holds an item twice; name each once and say how much it counts in weights")
        if self.weights is not None and len(self.weights) != len(self.item_ids):
            raise ValueError(
                f"weights has {len(self.weights)} numbers, expected {len(self.item_ids)}: one for each item"
            )
        return self


class SimilarTo(Strict):
    item_id: Id
    k: K = 10


class Item(Strict):
    item_id: str
    title: str
    score: float
    segment: Segment  # cold: a tail item that nobody had touched when the model was trained


class Answer(Strict):
    model: str  # tag of the Bento: name:version
    fallback: Fallback | None = None  # then items are the most popular, score their training users
    items: list[Item]


class ModelInfo(Strict):
    model: str
    verdict: str
    reason: str
    digests: dict[str, Any]  # what the verdict speaks of
    files: dict[str, str]  # sha256 of every file of this Bento, verified when the service started
    tail: str
    n_items: int
    n_tail: int
    n_users: int
