"""The encoder of the Bento: each form gives what was checked, and one that keeps too little is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pytest

from bento.model.encoder import Encoder
from models.inference.encoder.projection import fit
from pipelines.artifacts import checkpoint
from pipelines.package import encoder as packed_encoder
from pipelines.settings.document import load
from pipelines.settings.embed import Embed
from tests import judged
from tests.conftest import Workspace


def sample() -> packed_encoder.Sample:
    return packed_encoder.Sample([judged.TEXTS], [1.0], judged.embeddings())


@pytest.mark.parametrize("form", get_args(packed_encoder.Form))
def test_a_wish_gets_the_vector_that_was_checked(workspace: Workspace, form: packed_encoder.Form) -> None:
    judged.name_encoder()
    Path("packed").mkdir()
    about = packed_encoder.write(judged.factors(), checkpoint.find(load(Embed)), Path("packed/encoder"), sample(), form)
    assert about["form"] == form
    served = Encoder(about, Path.cwd())
    cosines = []
    for text, vector in zip(judged.TEXTS, judged.embeddings(), strict=True):
        found = served(text)
        assert found is not None
        cosines.append(float(found @ vector))
    assert min(cosines) == pytest.approx(about["cosine"], abs=1e-4)
    assert min(cosines) > (0.9 if form == "static" else 0.999)
    assert served("  ") is None
    assert form == "half" or about["overlap@10"] > (0.4 if form == "static" else 0.95)


@pytest.mark.parametrize("method", ["pca", "whiten"])
def test_a_wish_is_reduced_as_the_vectors_of_the_items_were(
    workspace: Workspace, method: Literal["pca", "whiten"]
) -> None:
    judged.name_encoder()
    whole = judged.embeddings()
    projection = fit(whole, np.arange(len(whole)), method=method, dim=6)
    reduced = packed_encoder.Sample([judged.TEXTS], [1.0], projection(whole), projection)
    Path("packed").mkdir()
    encoder = checkpoint.find(load(Embed))
    served = Encoder(packed_encoder.write(judged.factors(), encoder, Path("packed/encoder"), reduced), Path.cwd())
    for text, vector in zip(judged.TEXTS, projection(whole), strict=True):
        found = served(text)
        assert found is not None
        assert found @ vector > 0.999
    with pytest.raises(ValueError, match=r"package\.encoder is static, which needs embed\.reduce: null"):
        packed_encoder.write(judged.factors(), encoder, Path("packed/static"), reduced, "static")


def test_int8_that_loses_neighbours_is_refused_with_its_figures(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged.name_encoder()
    monkeypatch.setattr("models.inference.encoder.quantization.LARGEST", 1)  # three values for each weight
    message = r"int8 keeps 0\.\d+ of the 10 nearest items \(overlap of 40 items, smallest cosine .*\), expected 0.95"
    with pytest.raises(ValueError, match=message):
        packed_encoder.write(judged.factors(), checkpoint.find(load(Embed)), Path("encoder-8"), sample(), "int8")
    assert not Path("encoder-8").exists()


def test_half_precision_that_is_another_encoder_is_refused(workspace: Workspace) -> None:
    judged.name_encoder()
    other = packed_encoder.Sample([judged.TEXTS], [1.0], np.roll(judged.embeddings(), 1, axis=0))
    with pytest.raises(ValueError, match=r"the encoder for serving has cosine .* expected 0.999"):
        packed_encoder.write(judged.factors(), checkpoint.find(load(Embed)), Path("encoder-16"), other)
