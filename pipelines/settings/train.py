"""Section `train`: the model, its hyper-parameters, their search, and re-ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import Field, create_model, model_validator

from models.training.settings import FAMILIES, Settings
from pipelines.settings.document import Device, Dim, Positive, Section, Seed, Share, Strengths, Strict


class Rerank(Strict):
    max_ndcg_loss: Share
    popularity: Strengths
    xquad: Strengths
    slots: Strengths


def section_of(hyperparameters: type[Any], **other: Any) -> Any:
    """Return the pydantic model of a family's section: its settings without the seed. other: fields of another type."""
    hints = get_type_hints(hyperparameters, include_extras=True) | other
    made: dict[str, Any] = {name: (kind, ...) for name, kind in hints.items() if name != "seed"}
    return create_model(hyperparameters.__name__, __base__=Strict, **made)


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


if TYPE_CHECKING:

    class Families(Section):
        """Sections of the families of models, and the name of the one to train."""

        model: str

else:
    SECTIONS = {name: section_of(settings) for name, settings in FAMILIES.items()}
    SECTIONS["als"] = section_of(FAMILIES["als"], embedding_dim=Dim | None)  # None: by the size of the data
    Families = create_model(
        "Families",
        __base__=Section,
        model=(Literal[tuple(FAMILIES)], ...),
        **{name: (section, ...) for name, section in SECTIONS.items()},
    )


class Train(Families):
    section = "train"
    anchor: Share
    anchor_ridge: Positive
    anchor_neighbours: Share
    cold_max_ndcg_loss: Share
    rerank: Rerank
    search: Search
    world_size: Annotated[int, Field(ge=1, le=1024)]
    seed: Seed
    device: Device

    def of(self, family: str) -> dict[str, Any]:
        """Hyper-parameters of a family of models."""
        return dict(getattr(self, family))

    def settings(self) -> dict[str, Any]:
        """Return the searchable settings, flat: the hyper-parameters of the chosen model and of the text anchor."""
        return {**self.of(self.model), **{name: getattr(self, name) for name in ANCHOR}}

    def hyperparameters(self) -> Settings:
        """Return the settings of the chosen model. Raises TypeError if its dimension is not set yet."""
        return FAMILIES[self.model](**self.of(self.model), seed=self.seed)

    def with_family(self, family: str, **changes: Any) -> Train:
        """Return a copy with other hyper-parameters of a family."""
        return self.model_copy(update={family: getattr(self, family).model_copy(update=changes)})

    def integers(self) -> set[str]:
        """Return the names of `settings` that are integers."""
        return {name for name, value in self.settings().items() if isinstance(value, int)}

    def with_settings(self, changes: dict[str, Any]) -> Train:
        """Return a copy with other values of some `settings`. Raises ValueError if one is out of its bounds."""
        values = self.model_dump()
        for name, value in changes.items():
            target = values[self.model] if name in values[self.model] else values
            target[name] = value
        return Train.model_validate(values)

    @model_validator(mode="after")
    def can_be_shared(self) -> Train:
        if self.world_size > 1 and self.model != "als":
            raise ValueError(f"world_size is {self.world_size}, expected 1 for model {self.model}, or model als")
        if self.world_size > 1 and self.search.trials:
            raise ValueError(
                f"world_size is {self.world_size} and search.trials {self.search.trials}, expected one of them alone: "
                "search in one process, on a sample of large data, and train the result in several"
            )
        return self

    @model_validator(mode="after")
    def can_be_searched(self) -> Train:
        if not self.search.trials:
            return self
        known = self.settings().keys() - {"epochs"}
        if unknown := self.search.space.keys() - known:
            raise ValueError(
                f"search.space has {', '.join(sorted(unknown))}, expected settings of {self.model}: "
                f"{', '.join(sorted(known))}"
            )
        for name, (low, high) in self.search.space.items():
            start = self.settings()[name]
            if start is not None and not low <= start <= high:
                raise ValueError(
                    f"search.space.{name} is [{low}, {high}], expected a range that includes the initial value {start}"
                )
        return self
