"""CSV for people: no spreadsheet computes what is in the data, and every value comes back as it was."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.artifacts import tables


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-rock", "@SUM(A1)", "\t=1", "'=1"])
def test_a_text_that_a_spreadsheet_would_compute_stands_behind_an_apostrophe(tmp_path: Path, text: str) -> None:
    tables.write_csv(tmp_path / "a.csv", [{"title": text, "loss": -0.5, "gain": "-1.5e-3", "plain": "a=b"}])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{text}", "-0.5", "-1.5e-3", "a=b"]


@given(st.lists(st.text("='+-@\t\n ,\"a1", max_size=6), min_size=1))
def test_every_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    tables.write_csv(path, ({"n": n, "text": text} for n, text in enumerate(texts)))
    assert tables.read_csv(path)["text"] == texts
