"""A model as arrays and a JSON tree, and back."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest

from models.inference.factors import Factors
from models.inference.packing import pack, unpack
from models.inference.user_side import Layer, Pooling
from tests.models.small_factors import pooled_factors, small_factors


@dataclass(frozen=True)
class Pair:
    left: object
    right: object


@pytest.mark.parametrize("model", [small_factors(n_items=5, d=3), pooled_factors(n_items=5, d=3)])
def test_a_model_comes_back_as_it_was_through_json(model: Factors) -> None:
    arrays, tree = model.to_tensors()
    again = Factors.from_tensors(arrays, json.loads(json.dumps(tree)))
    history = [np.array([0, 3])]
    assert np.array_equal(again.fold_in(history), model.fold_in(history))
    assert [type(side) for side in again.users] == [type(side) for side in model.users]
    assert again.n_warm_items == model.n_warm_items


def test_arrays_are_named_by_where_they_stand() -> None:
    layers = (Layer(np.zeros((2, 3), np.float32), np.zeros(3, np.float32)),)
    side = Pooling(np.zeros((5, 2), np.float32), 0.5, layers)
    arrays, _ = pack(replace(small_factors(n_items=5, d=3), users=(side,)))
    assert {"item_factors", "users.0.sources", "users.0.layers.0.weight"} <= arrays.keys()


def test_numbers_none_and_nested_tuples_survive() -> None:
    value = Pair(left=(1, (2.5, None)), right=np.arange(3))
    arrays, tree = pack(value)
    again = unpack(arrays, json.loads(json.dumps(tree)), {"Pair": Pair})
    assert again.left == value.left
    assert np.array_equal(again.right, np.arange(3))


def test_what_is_missing_or_unknown_is_named() -> None:
    arrays, tree = small_factors(n_items=5, d=3).to_tensors()
    with pytest.raises(ValueError, match=r"array gram is missing.*dvc repro train"):
        Factors.from_tensors({name: array for name, array in arrays.items() if name != "gram"}, tree)
    with pytest.raises(ValueError, match=r"expected .*n_warm_items"):
        Factors.from_tensors(arrays, {name: part for name, part in tree.items() if name != "n_warm_items"})
    with pytest.raises(ValueError, match="'Forest' is none of"):
        Factors.from_tensors(arrays, tree | {"kind": "Forest"})
    with pytest.raises(ValueError, match="no factors"):
        Factors.from_tensors(arrays, None)
