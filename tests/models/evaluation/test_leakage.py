"""Leakage: holdouts whose pairs or withheld items an older model has seen are found."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.holdout import bucket_bound
from models.evaluation.leakage import Split, seen

BY_TIME = Split(
    "time",
    ("2024-01-01T00:00:00+00:00", "2024-02-01T00:00:00+00:00"),
    seed=42,
    test=0.1,
    cold_items=0.0,
    user_space=None,
)
BY_HASH = Split("hash", None, seed=42, test=0.1, cold_items=0.0, user_space=None)


def from_(test: str) -> Split:
    return replace(BY_TIME, cutoffs=("2024-01-10T00:00:00+00:00", test))


@pytest.mark.parametrize("split", [BY_TIME, BY_HASH])
def test_the_same_split_is_fair(split: Split) -> None:
    assert seen(split, split) is None


@pytest.mark.parametrize("begins", ["2024-02-01T00:00:00+00:00", "2024-03-01T00:00:00+00:00", "2024-02-01T00:00:01"])
def test_events_from_its_own_test_set_on_are_new_to_a_model(begins: str) -> None:
    assert seen(BY_TIME, from_(begins + ("" if "+" in begins else "+00:00"))) is None


def test_a_holdout_that_begins_within_the_models_valid_was_seen() -> None:
    why = seen(BY_TIME, from_("2024-01-31T00:00:00+00:00"))
    assert why is not None
    assert "up to 2024-02-01T00:00:00+00:00, and this holdout begins at 2024-01-31T00:00:00+00:00" in why


def test_another_seed_of_time_splits_does_not_matter() -> None:
    assert seen(BY_TIME, replace(BY_TIME, seed=7)) is None


@pytest.mark.parametrize(("then", "now"), [(BY_TIME, BY_HASH), (BY_HASH, BY_TIME)])
def test_a_holdout_of_another_strategy_was_seen(then: Split, now: Split) -> None:
    assert f"a split by {then.strategy}, and this holdout is drawn by {now.strategy}" in str(seen(then, now))


@pytest.mark.parametrize(
    ("then", "now", "how"),
    [
        (None, "1a2b3c4d", "the ids of users, and this holdout is drawn by pseudonyms of users (key 1a2b3c4d)"),
        ("1a2b3c4d", None, "pseudonyms of users (key 1a2b3c4d), and this holdout is drawn by the ids of users"),
        ("1a2b3c4d", "5e6f7a8b", "(key 1a2b3c4d), and this holdout is drawn by pseudonyms of users (key 5e6f7a8b)"),
    ],
)
def test_users_by_another_name_are_drawn_anew_by_hash_but_not_by_time(
    then: str | None, now: str | None, how: str
) -> None:
    assert how in str(seen(replace(BY_HASH, user_space=then), replace(BY_HASH, user_space=now)))
    assert seen(replace(BY_TIME, user_space=then), replace(BY_TIME, user_space=now)) is None


@given(st.integers(0, 2), st.integers(0, 2), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_what_is_called_fair_shares_no_pair_and_what_is_not_does(a: int, b: int, then: float, now: float) -> None:
    def bucket(seed: int, pair: int) -> float:
        return int(hashlib.md5(f"{seed}:{pair}".encode()).hexdigest()[:8], 16) / 2**32

    fair = seen(replace(BY_HASH, seed=a, test=then), replace(BY_HASH, seed=b, test=now)) is None
    shared = [pair for pair in range(300) if bucket(b, pair) < now and bucket(a, pair) >= then]
    assert not (fair and shared)
    assert fair or shared or abs(now - then) < 0.05 or now < 0.05 or then > 0.85


@pytest.mark.parametrize("split", [BY_TIME, BY_HASH])
@pytest.mark.parametrize(
    ("then", "now", "why"),
    [
        (0.0, 0.1, "it was trained on all items, and this split withholds 0.1 of them"),
        (0.05, 0.1, "only 0.05 of the items were withheld from it, and this split withholds 0.1"),
        (0.1, 0.1, None),
        (0.2, 0.1, None),  # the first tenth is part of the first fifth
        (0.1, 0.0, None),
    ],
)
def test_a_model_must_not_have_been_trained_on_items_that_are_withheld_now(
    split: Split, then: float, now: float, why: str | None
) -> None:
    found = seen(replace(split, cold_items=then), replace(split, cold_items=now))
    assert found is None if why is None else why in str(found)


def test_another_seed_withholds_other_items_of_time_splits_too() -> None:
    then = replace(BY_TIME, cold_items=0.2)
    assert "by seed 42, and this split withholds others, by seed 7" in str(seen(then, replace(then, seed=7)))
    assert seen(then, replace(then, seed=7, cold_items=0.0)) is None


@given(st.integers(0, 2), st.integers(0, 2), st.floats(0, 0.5), st.floats(0, 0.5))
def test_who_may_be_asked_for_cold_items_was_trained_on_none_of_them(a: int, b: int, then: float, now: float) -> None:
    def withheld(seed: int, share: float) -> set[int]:
        place = {n: hashlib.md5(f"{seed}:cold:i{n}".encode()).hexdigest()[:8] for n in range(300)}
        return {n for n, digits in place.items() if digits < bucket_bound(share)}

    fair = seen(replace(BY_TIME, seed=a, cold_items=then), replace(BY_TIME, seed=b, cold_items=now)) is None
    trained_on = withheld(b, now) - withheld(a, then)
    assert not (fair and trained_on)
    assert fair or trained_on or now - then < 0.05 or now < 0.05 or a != b
