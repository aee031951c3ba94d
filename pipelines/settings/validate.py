"""Section `validate`: requirements for the canonical tables."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.settings.document import Count, Memory, Section, Share, Strict, Text


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
