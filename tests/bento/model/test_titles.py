"""Search among titles."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bento.model.titles import Titles

TITLES = ["The Straße home", "A home", "Home alone", "", "two\nlines home", "THE END"]
POPULARITY = np.array([5, 9, 1, 100, 7, 3], np.int32)


def search(text: str, limit: int = 20) -> list[int]:
    return Titles(TITLES, POPULARITY).search(text, limit)


def test_titles_that_begin_with_the_text_come_first_then_the_popular_ones() -> None:
    assert search("HOME") == [2, 1, 4, 0]
    assert search("home", 2) == [2, 1]


def test_case_spaces_and_line_ends_make_no_difference() -> None:
    assert search("  the   strasse ") == [0]
    assert search("two lines") == [4]


def test_no_text_finds_nothing_and_no_match_runs_over_two_titles() -> None:
    assert search(" ") == []
    assert search("a home home") == []
    assert Titles([], POPULARITY[:0]).search("a", 3) == []


@given(st.lists(st.text("aB \n", max_size=5), max_size=12), st.text("ab ", min_size=1, max_size=3))
def test_it_finds_what_a_look_at_each_title_finds(titles: list[str], text: str) -> None:
    wanted = " ".join(text.casefold().split())
    expected = {i for i, title in enumerate(titles) if wanted and wanted in title.casefold().replace("\n", " ")}
    assert set(Titles(titles, np.zeros(len(titles), np.int32)).search(text, 20)) == expected
