"""A multilingual encoder as they are published: XLM-RoBERTa under a tokenizer of word pieces of many scripts.

Its weights are random, since none can be fetched where the tests run: what it computes is checked, not what it knows.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

from bento.model.encoder import Encoder
from pipelines.artifacts import checkpoint, outputs, tables
from pipelines.embed import stage as embed
from pipelines.package import encoder
from pipelines.settings.document import load
from pipelines.settings.embed import Embed
from tests import judged
from tests.conftest import Workspace

TEXTS = [
    "The keeper of the lighthouse finds a letter",
    "Der Leuchtturmwärter findet einen Brief",
    "Смотритель маяка находит письмо",
    "灯台守が一通の手紙を見つける",
    "守塔人发现了一封信",
    "يجد حارس المنارة رسالة",
    "שומר המגדלור מוצא מכתב",
    "प्रकाशस्तंभ का रखवाला एक पत्र पाता है",
    "등대지기가 편지를 발견한다",
    "ผู้ดูแลประภาคารพบจดหมาย 🗼",
]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """As an E5 lies on the hub: with prompts, and the mean for pooling."""
    import torch
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from tokenizers.trainers import UnigramTrainer
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder = Path("encoder")
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = UnigramTrainer(vocab_size=400, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(["query: passage: ", *TEXTS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    )
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=130, type_vocab_size=1, initializer_range=0.4,
        pad_token_id=1, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    kinds = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128, **kinds}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for n, (path, kind) in enumerate(modules)
            ]
        )
    )
    prompts = {"query": "query: ", "passage": "passage: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    workspace.params("embed", {"model": str(folder), "max_length": 128, "precision": "fp32"})
    return folder


def embedded() -> npt.NDArray[np.float32]:
    with outputs.stage("split") as stage:
        ids = [f"{n:04}" for n in range(len(TEXTS))]
        tables.write(pa.table({"item_id": ids, "text": TEXTS}), stage.output("items.parquet"))
    embed.main()
    return load_file("data/embed/embeddings.safetensors")["embeddings"]


def test_every_script_has_the_vector_that_sentence_transformers_gives(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(folder), device="cpu")
    expected = peer.encode(TEXTS, prompt_name="passage", normalize_embeddings=True)
    found = embedded()
    np.testing.assert_allclose(found, expected, atol=1e-3)  # they are kept in 16 bits
    assert np.abs(np.corrcoef(found) - np.eye(len(TEXTS))).max() < 0.999  # no two are the same


def test_a_wish_in_every_script_has_the_vector_of_its_item(folder: Path) -> None:
    vectors = embedded()
    Path("packed").mkdir()
    sample = encoder.Sample([TEXTS], [1.0], vectors)
    about = encoder.write(judged.factors(), checkpoint.find(load(Embed)), Path("packed/encoder"), sample, "half")
    served = Encoder(about, Path.cwd())
    for text, vector in zip(TEXTS, vectors, strict=True):
        found = served(text)
        assert found is not None
        assert found @ vector > 0.999
