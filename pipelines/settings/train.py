"""Section `train`: the model, its hyper-parameters, their search, and re-ranking."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipelines.settings.document import Count, Device, Dim, Epochs, Positive, Section, Seed, Share, Strengths, Strict


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
        """Return what a search may change, flat: the chosen model's hyper-parameters and those of the text anchor."""
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
