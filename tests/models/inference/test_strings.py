"""Texts end to end, and where each stands."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.inference.postings import Postings, arrays_of_postings
from models.inference.strings import Positions, Strings, arrays_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(TEXT, unique=True))
def test_every_text_comes_back_and_is_found_where_it_stands(texts: list[str]) -> None:
    strings = Strings.of(arrays_of("a", texts), "a")
    assert list(strings) == texts
    assert strings[:2] == texts[:2]
    order = np.array(sorted(range(len(texts)), key=lambda i: texts[i].encode()), np.int32)
    positions = Positions(strings, order)
    assert [positions[text] for text in texts] == list(range(len(texts)))
    assert positions.get("\ud800 no text of a table") is None


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "ü", "a b"]), max_size=3), max_size=12),
    st.sets(st.sampled_from("abü")),
)
def test_a_filter_finds_the_items_that_hold_one_of_the_values(cells: list[list[str]], values: set[str]) -> None:
    postings = Postings.of(arrays_of_postings("c", cells), "c")
    expected = [item for item, held in enumerate(cells) if values & set(held)]
    assert postings.holding([*values, "unheard of"]).tolist() == expected
