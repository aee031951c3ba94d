"""A BERT-like encoder with random weights, small enough for tests, and the transformers library's own of the same."""

from __future__ import annotations

from typing import Any

import torch
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

SHAPE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
}


def bert() -> tuple[Any, dict[str, Any]]:
    """The peer in eval mode, and its config.json."""
    torch.manual_seed(0)
    config = BertConfig(**SHAPE, initializer_range=0.4)
    return BertModel(config).train(False), config.to_dict()


def roberta() -> tuple[Any, dict[str, Any]]:
    torch.manual_seed(0)
    config = RobertaConfig(**SHAPE, initializer_range=0.4, pad_token_id=1, type_vocab_size=1)
    return RobertaModel(config).train(False), config.to_dict()
