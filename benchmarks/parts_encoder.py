"""The text encoder of a Bento beside ONNX Runtime, both with random weights and one thread, for one text at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks._rounds import medians
from models.inference.encoder.bert_weights import Bert, Layer, Linear, Norm
from models.inference.encoder.numpy_encoder import Floats, NumpyEncoder

SMALL = {"h": 16, "inner": 32, "layers": 1, "heads": 2, "words": 100, "longest": 300}  # as in the tests
MINI_LM = {"h": 384, "inner": 1536, "layers": 6, "heads": 12, "words": 30_522, "longest": 512}
SHAPES = {"1 layer of 16": SMALL, "6 layers of 384": MINI_LM}
TOKENS, ROUNDS, TOLERANCE, SEED = (8, 64), 15, 1e-5, 0


def rows() -> Iterator[dict[str, Any]]:
    """Yield a row per shape and length of the text; raises ValueError where the states differ by more than 1e-5."""
    rng = np.random.default_rng(SEED)
    for name, shape in SHAPES.items():
        bert = random_bert(rng, **shape)
        ours, peer = NumpyEncoder(bert), session(bert)
        for n in TOKENS:
            ids = rng.integers(0, shape["words"], n)
            batch = ids[None].astype(np.int32)
            difference = float(np.abs(ours(ids) - peer.run(None, {"ids": batch})[0][0]).max())
            if not difference <= TOLERANCE:
                raise ValueError(f"the states of {n} tokens differ by {difference}, expected at most {TOLERANCE}")
            ways = {"numpy": partial(ours, ids), "onnxruntime": partial(peer.run, None, {"ids": batch})}
            seconds = medians(ways, rounds=ROUNDS, calls=200 if shape is SMALL else 10)
            yield {
                "encoder": name, "tokens": n, "numpy_ms": round(1e3 * seconds["numpy"], 3),
                "onnxruntime_ms": round(1e3 * seconds["onnxruntime"], 3),
                "gain": round(seconds["onnxruntime"] / seconds["numpy"], 2), "difference": difference,
            }  # fmt: skip


def random_bert(
    rng: np.random.Generator, *, h: int, inner: int, layers: int, heads: int, words: int, longest: int
) -> Bert:
    """Return an encoder of h numbers per token, with norms near 1 and weights as large as those of a trained one."""

    def drawn(*shape: int) -> Floats:
        return rng.normal(0, 0.05, shape).astype(np.float32)

    def linear(n_in: int, n_out: int) -> Linear:
        return Linear(drawn(n_out, n_in), drawn(n_out))

    def norm() -> Norm:
        return Norm(1 + drawn(h), drawn(h))

    def layer() -> Layer:
        query, key, value, out = (linear(h, h) for _ in range(4))
        return Layer(query, key, value, out, norm(), linear(h, inner), linear(inner, h), norm())

    return Bert(drawn(words, h), drawn(longest, h), norm(), [layer() for _ in range(layers)], heads, epsilon=1e-12)


def session(bert: Bert) -> Any:
    """Return an ONNX Runtime session from `ids`, int32 (1, n), to states (1, n, h), of its own fused operators."""
    nodes: list[Any] = []
    arrays: dict[str, npt.NDArray[Any]] = {}

    def add(operator: str, inputs: list[str], more: dict[str, npt.NDArray[Any]] | None = None, **options: Any) -> str:
        name = f"{operator}{len(nodes)}"
        given = {f"{name}.{argument}": array for argument, array in (more or {}).items()}
        arrays.update(given)
        outputs = [name, f"{name}.mask"] if operator == "EmbedLayerNormalization" else [name]
        domain = "" if operator == "MatMul" else "com.microsoft"
        nodes.append(helper.make_node(operator, [*inputs, *given], outputs, domain=domain, **options))
        return name

    def product(x: str, linear: Linear) -> str:
        return add("MatMul", [x], {"weight": np.ascontiguousarray(linear.weight.T)})

    def normalized(x: str, skipped: str, norm: Norm, bias: Floats) -> str:
        given = {"scale": norm.weight, "shift": norm.bias, "bias": bias}
        return add("SkipLayerNormalization", [x, skipped], given, epsilon=bert.epsilon)

    # the empty names are optional inputs: token types and their embeddings
    embedded = {"words": bert.words, "positions": bert.positions, "scale": bert.norm.weight, "shift": bert.norm.bias}
    arrays.update(embedded)
    x = add("EmbedLayerNormalization", ["ids", "", "words", "positions", "", "scale", "shift"], epsilon=bert.epsilon)
    for layer in bert.layers:
        parts = (layer.query, layer.key, layer.value)
        weights = {
            "weight": np.ascontiguousarray(np.concatenate([part.weight for part in parts]).T),
            "bias": np.concatenate([part.bias for part in parts]),
        }
        attended = add("Attention", [x], weights, num_heads=bert.heads)
        x = normalized(product(attended, layer.attention_out), x, layer.attention_norm, layer.attention_out.bias)
        hidden = add("BiasGelu", [product(x, layer.hidden)], {"bias": layer.hidden.bias})
        x = normalized(product(hidden, layer.output), x, layer.output_norm, layer.output.bias)
    graph = helper.make_graph(
        nodes, "bert",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, [1, "n"])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, "n", bert.words.shape[1]])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
