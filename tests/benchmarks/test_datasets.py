"""Folders of real data sets, and the holdout that every user gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import _datasets as datasets

MOVIES = 'movieId,title,genres\n1,"Heat, The (1995)",Action|Crime\n2,Quiet (2001),Drama\n'
RATINGS = "userId,movieId,rating,timestamp\n7,1,4.0,1\n7,2,3.5,2\n8,2,5.0,3\n"
HISTORY = "User_ID\tAnime_ID\tFeedback\n1\t5\t1\n1\t6\t1\n2\t5\t1\n2\t5\t1\n"
INFO = 'anime_ids\tname\tgenre\ttype\n5\tTom &amp; "Ann\tComedy, Drama\tTV\n6\tOn\t\t\n'


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).write_text(content, "utf-8")
    return folder


def test_movielens_has_good_ratings_and_texts_with_genres_and_tags(tmp_path: Path) -> None:
    tags = "userId,movieId,tag,timestamp\n7,1,Heist,1\n8,1,heist,2\n"
    pairs, texts = datasets.movielens(
        written(tmp_path, {"movies.csv": MOVIES, "ratings.csv": RATINGS, "tags.csv": tags})
    )
    assert pairs == {("7", "1"), ("8", "2")}
    assert texts == {"1": "Heat, The (1995). Action, Crime. heist", "2": "Quiet (2001). Drama. "}


def test_histories_count_every_pair_once_and_read_quotes_as_characters(tmp_path: Path) -> None:
    pairs, texts = datasets.histories(written(tmp_path, {"a_history.dat": HISTORY, "a_info.dat": INFO}))
    assert pairs == {("1", "5"), ("1", "6"), ("2", "5")}
    assert texts == {"5": 'Tom & "Ann. Comedy, Drama. TV', "6": "On"}


def test_a_folder_without_a_data_set_is_refused_by_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"expected ratings\.csv and movies\.csv, or one \*_history\.dat"):
        datasets.read(tmp_path)


def test_absent_data_sets_say_how_to_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGTAIL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="LONGTAIL_DATA"):
        datasets.read("anime")
    monkeypatch.setenv("LONGTAIL_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="anime is not a folder"):
        datasets.read("anime")


pairs_of_users = st.sets(st.tuples(st.sampled_from("abcd"), st.integers(0, 60).map(str)), min_size=1)


@given(pairs_of_users, st.integers(0, 5))
def test_every_pair_is_in_one_part_and_every_user_keeps_eight_tenths(pairs: set[tuple[str, str]], seed: int) -> None:
    data = datasets.split("x", pairs, {"no one has it": "a text"}, seed=seed)
    total = (data.train + data.valid + data.test).tocsr()
    assert total.nnz == len(pairs)
    assert (total.data == 1).all()
    users = sorted({user for user, _ in pairs})
    items = sorted({item for _, item in pairs} | {"no one has it"})
    rows, columns = total.nonzero()
    assert {(users[row], items[column]) for row, column in zip(rows, columns, strict=True)} == pairs
    lengths = np.diff(total.indptr)
    for part in (data.valid, data.test):
        assert (np.diff(part.indptr) == np.rint(lengths * 0.1)).all()
    assert data.catalogue.is_cold[items.index("no one has it")]


def test_the_holdout_depends_on_the_seed_alone() -> None:
    pairs = {("u", str(item)) for item in range(50)}
    first, again, other = (datasets.split("x", pairs, {}, seed=seed).test.indices for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_judging_on_test_hides_what_valid_holds_too() -> None:
    data = datasets.split("x", {("u", str(item)) for item in range(50)}, {}, seed=1)
    assert data.seen("valid").nnz == 40
    assert data.seen("test").nnz == 45
