from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.encoders.packed_encoder import PackedEncoder, Piece, Run, cut
from models.encoders.text_encoder import EqualLengths, encode
from models.inference.encoder.bert_weights import arrange, supported
from tests.models import tiny_bert

CPU = torch.device("cpu")
TOKENS = [[2, *range(3, 3 + n)] for n in (1, 1, 4, 4, 4, 31, 32, 33, 40, 40, 12)]


def packed(model: Any, config: dict[str, Any], dtype: torch.dtype = torch.float32) -> PackedEncoder:
    return PackedEncoder(arrange(model.state_dict(), config), dtype=dtype, device=CPU)


def vectors(states: Any, tokens: list[list[int]], *, batch_tokens: int = 2048) -> np.ndarray[Any, np.dtype[np.float32]]:
    out = np.full((len(tokens), 32), np.nan, np.float32)
    for rows, values in encode(states, tokens, pooling="mean", batch_tokens=batch_tokens, dim=32):
        out[rows] = values
    return out


@pytest.mark.parametrize("make", [tiny_bert.bert, tiny_bert.roberta])
def test_packed_texts_have_the_states_that_transformers_computes_one_by_one(
    make: Callable[[], tuple[Any, dict[str, Any]]],
) -> None:
    model, config = make()
    with torch.inference_mode():
        means = [model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0) for ids in TOKENS]
    expected = torch.nn.functional.normalize(torch.stack(means), dim=1).numpy()
    np.testing.assert_allclose(vectors(packed(model, config), TOKENS), expected, atol=2e-6)
    np.testing.assert_allclose(vectors(EqualLengths(model), TOKENS), expected, atol=2e-6)


def test_bf16_keeps_the_direction_of_vectors() -> None:
    model, config = tiny_bert.bert()
    exact, fast = vectors(packed(model, config), TOKENS), vectors(packed(model, config, torch.bfloat16), TOKENS)
    assert not np.array_equal(exact, fast)
    assert (exact * fast).sum(1).min() > 0.999


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=70), min_size=1, max_size=12), st.integers(1, 300))
def test_vectors_do_not_depend_on_what_else_is_in_the_batch(tokens: list[list[int]], budget: int) -> None:
    model, config = tiny_bert.bert()
    encoder = packed(model, config)
    alone = np.concatenate([vectors(encoder, [ids]) for ids in tokens])
    np.testing.assert_allclose(vectors(encoder, tokens, batch_tokens=budget), alone, atol=1e-5)


@given(st.integers(1, 300), st.integers(1, 200))
def test_attention_blocks_hold_every_text_of_a_run(length: int, texts: int) -> None:
    pieces = cut(Run(length, texts))
    assert sum(piece.texts * piece.blocks for piece in pieces) == texts
    assert all(piece.used <= piece.width < piece.used + length + 32 for piece in pieces)


def test_a_text_sees_itself_alone_and_what_fills_a_block_up_sees_nothing_of_it() -> None:
    seen = Piece(length=3, texts=2, blocks=1).mask(torch.float32) == 0
    assert seen[0].nonzero().flatten().tolist() == [0, 1, 2]
    assert seen[5].nonzero().flatten().tolist() == [3, 4, 5]
    assert not seen[6:, :6].any()
    assert seen.any(1).all()


def test_other_architectures_are_not_taken_for_this_one() -> None:
    _, config = tiny_bert.bert()
    assert supported(config)
    for change in ({"model_type": "mpnet"}, {"hidden_act": "relu"}, {"position_embedding_type": "relative_key"}):
        assert not supported({**config, **change})


def test_weights_that_lack_a_layer_are_refused_by_name() -> None:
    model, config = tiny_bert.bert()
    weights = {name: value for name, value in model.state_dict().items() if "layer.1.output.dense.bias" not in name}
    with pytest.raises(ValueError, match=r"no encoder\.layer\.1\.output\.dense\.bias"):
        arrange(weights, config)
