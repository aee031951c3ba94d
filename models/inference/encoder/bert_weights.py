"""The weights of a BERT-like encoder by function, from their names in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

Array = Any  # of numpy or of torch
ROBERTA = ("roberta", "xlm-roberta", "camembert")  # positions start after the padding token's
WORDS = "embeddings.word_embeddings.weight"


class Linear(NamedTuple):
    weight: Array  # (out, in)
    bias: Array  # (out,)


class Norm(NamedTuple):
    weight: Array  # (h,)
    bias: Array


class Layer(NamedTuple):
    query: Linear  # of all heads: (h, h)
    key: Linear
    value: Linear
    attention_out: Linear
    attention_norm: Norm
    hidden: Linear
    output: Linear
    output_norm: Norm


@dataclass(frozen=True)
class Bert:
    """Weights: words (vocabulary, h); positions (longest, h) plus the token type's embedding; layers in order."""

    words: Array
    positions: Array
    norm: Norm
    layers: list[Layer]
    heads: int
    epsilon: float  # of the layer norms


def supported(config: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint's config.json is of a supported architecture: BERT or RoBERTa as published."""
    return (
        config.get("model_type") in ("bert", *ROBERTA)
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
    )


def first_position(config: Mapping[str, Any]) -> int:
    """Return the position of a text's first token in the checkpoint's table."""
    return int(config.get("pad_token_id") or 0) + 1 if config.get("model_type") in ROBERTA else 0


def arrange(weights: Mapping[str, Array], config: Mapping[str, Any]) -> Bert:
    """Find the weights of a `supported` encoder. Raises ValueError if one is missing."""
    prefix = next((name.removesuffix(WORDS) for name in weights if name.endswith(WORDS)), None)
    if prefix is None:
        raise ValueError(f"the weights have no {WORDS}: they are not those of a {config.get('model_type')} encoder")

    def get(name: str) -> Array:
        if prefix + name not in weights:
            raise ValueError(f"the weights have no {prefix + name}; fetch the model again")
        return weights[prefix + name]

    def linear(name: str) -> Linear:
        return Linear(get(f"{name}.weight"), get(f"{name}.bias"))

    def norm(name: str) -> Norm:
        return Norm(get(f"{name}.weight"), get(f"{name}.bias"))

    def layer(name: str) -> Layer:
        attention = f"{name}.attention"
        return Layer(
            linear(f"{attention}.self.query"),
            linear(f"{attention}.self.key"),
            linear(f"{attention}.self.value"),
            linear(f"{attention}.output.dense"),
            norm(f"{attention}.output.LayerNorm"),
            linear(f"{name}.intermediate.dense"),
            linear(f"{name}.output.dense"),
            norm(f"{name}.output.LayerNorm"),
        )

    positions = get("embeddings.position_embeddings.weight")[first_position(config) :]
    return Bert(
        words=get("embeddings.word_embeddings.weight"),
        positions=positions + get("embeddings.token_type_embeddings.weight")[0],
        norm=norm("embeddings.LayerNorm"),
        layers=[layer(f"encoder.layer.{n}") for n in range(config["num_hidden_layers"])],
        heads=config["num_attention_heads"],
        epsilon=config["layer_norm_eps"],
    )
