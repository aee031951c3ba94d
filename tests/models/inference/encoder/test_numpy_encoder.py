from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.inference.encoder.bert_weights import arrange
from models.inference.encoder.numpy_encoder import NumpyEncoder, gelu, unit_vector
from tests.conftest import REPO
from tests.models import tiny_bert


@pytest.mark.parametrize("make", [tiny_bert.bert, tiny_bert.roberta])
@pytest.mark.parametrize("ids", [[2], [2, 3], [5] * 33, list(range(3, 45))])
def test_states_are_those_of_the_transformers_library(
    make: Callable[[], tuple[Any, dict[str, Any]]], ids: list[int]
) -> None:
    model, config = make()
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    np.testing.assert_allclose(NumpyEncoder(arrange(weights, config))(ids), expected, atol=5e-6)


@given(st.floats(-30, 30, width=32))
def test_gelu_is_that_of_torch(x: float) -> None:
    expected = torch.nn.functional.gelu(torch.tensor([x]))[0].item()
    assert gelu(np.array([x], np.float32))[0] == pytest.approx(expected, abs=1e-6, rel=1e-5)


def test_poolings_take_what_their_names_say() -> None:
    states = np.array([[3, 4, 9], [1, 0, 9]], np.float32)
    for pooling, expected in (("mean", [2, 2]), ("cls", [3, 4]), ("last", [1, 0])):
        vector = unit_vector(states, pooling=pooling, dim=2)
        np.testing.assert_allclose(vector, np.array(expected) / np.linalg.norm(expected), rtol=1e-6)


def test_nothing_but_numpy_is_imported() -> None:
    code = (
        "import sys, models.inference.encoder.numpy_encoder; "
        "print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
