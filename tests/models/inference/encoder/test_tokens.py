from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from models.inference.encoder.tokens import clean, tokenize
from pipelines.artifacts.checkpoint import packaged


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return Tokenizer.from_file(str(packaged() / "tokenizer.json"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[(None, ""), (float("nan"), ""), (7, "7"), ("Amélie", "Amélie"), ("Amélie".encode(), "Amélie")],
        *[("Amélie".encode("latin-1"), "Am\ufffdlie"), ("a\ud800b", "a?b"), ("👩‍🚀", "👩‍🚀"), ("", "")],
    ],
)
def test_whatever_a_table_holds_is_a_text(value: object, text: str) -> None:
    assert clean(value) == text


@given(st.text(st.characters(), max_size=40))
def test_every_text_can_be_tokenized(tokenizer: Any, text: str) -> None:
    (ids,) = tokenize(tokenizer, [text], max_length=16)
    assert len(ids) <= 16
    assert len(ids) != 2  # [CLS] and [SEP] alone would be the same for all such texts


@pytest.mark.parametrize("text", ["", "  \n", "\x00\x01", "\u200b"])
def test_a_text_without_any_token_of_its_own_has_none(tokenizer: Any, text: str) -> None:
    assert tokenize(tokenizer, [text], max_length=16) == [[]]


def test_length_is_what_is_asked_for_whatever_the_file_says(tokenizer: Any) -> None:
    """The packaged tokenizer's own file cuts and pads at 128."""
    long, short = tokenize(tokenizer, ["word " * 1000, "word"], max_length=200)
    assert (len(long), len(short)) == (200, 3)
    assert long[-1] == short[-1]  # [SEP] still ends a text that was cut


@pytest.mark.slow
def test_a_million_characters_are_cut(tokenizer: Any) -> None:
    assert [len(ids) for ids in tokenize(tokenizer, ["x" * 10**6, "é " * 500_000], max_length=64)] == [3, 64]
