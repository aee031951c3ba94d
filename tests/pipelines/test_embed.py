from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file

from pipelines import _artifacts as artifacts
from pipelines import _encoder as encoders
from pipelines import _tables as tables
from pipelines import embed
from pipelines._embedding_cache import EmbeddingCache
from pipelines._params import Embed, load
from tests.conftest import Workspace

TEXTS = ["A lighthouse keeper finds a letter", "Two detectives in the rain", "", "Robots learn to garden " * 200]


def write_items(texts: list[str]) -> None:
    with artifacts.stage("split") as stage:
        ids = [f"{n:04}" for n in range(len(texts))]
        tables.write(pa.table({"item_id": ids, "text": texts}), stage.output("items.parquet"))


def embeddings() -> npt.NDArray[np.float32]:
    return load_file("data/embed/embeddings.safetensors")["embeddings"]


def test_vectors_equal_those_of_sentence_transformers(workspace: Workspace) -> None:
    """The genuine encoder on an independent implementation of the same pooling."""
    from sentence_transformers import SentenceTransformer

    write_items(TEXTS)
    embed.main()
    peer = SentenceTransformer(str(encoders.packaged()), device="cpu")
    peer.max_seq_length = 256
    expected = peer.encode([TEXTS[0], TEXTS[1], TEXTS[3]], normalize_embeddings=True)
    np.testing.assert_allclose(embeddings()[[0, 1, 3]], expected, atol=1e-5)


def test_an_empty_text_has_the_zero_vector_and_others_have_length_one(workspace: Workspace) -> None:
    write_items(TEXTS)
    embed.main()
    np.testing.assert_allclose(np.linalg.norm(embeddings(), axis=1), [1, 1, 0, 1], atol=1e-5)


def test_only_new_texts_are_computed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write_items(TEXTS[:2])
    embed.main()
    before = embeddings()
    write_items(["Another text", *TEXTS[:2]])
    capsys.readouterr()
    embed.main()
    assert "3 distinct texts, 1 to compute" in capsys.readouterr().out
    np.testing.assert_array_equal(embeddings()[1:], before)


def test_a_damaged_shard_of_the_cache_is_computed_again(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_items(TEXTS[:2])
    embed.main()
    before = embeddings()
    (shard,) = Path(".longtail/embeddings").rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    embed.main()
    assert "was damaged" in capsys.readouterr().out
    np.testing.assert_allclose(embeddings(), before, atol=1e-6)


def test_another_length_is_another_encoder(workspace: Workspace) -> None:
    first = encoders.find(load(Embed)).digest
    workspace.params("embed", {"max_length": 64})
    assert encoders.find(load(Embed)).digest != first


def test_a_half_written_shard_is_never_read(workspace: Workspace) -> None:
    cache = EmbeddingCache("digest")
    cache.add([encoders.key("a")], np.ones((1, 3), np.float32))
    (cache.folder / ".partial-1").write_bytes(b"half")
    assert list(cache.load()) == [encoders.key("a")]


def test_a_local_folder_is_an_encoder_and_its_cls_pooling_is_read(workspace: Workspace) -> None:
    folder = copy_of_packaged(Path("encoder"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    workspace.params("embed", {"model": "encoder"})
    assert encoders.find(load(Embed)).pooling == "cls"
    write_items(TEXTS[:2])
    embed.main()
    np.testing.assert_allclose(np.linalg.norm(embeddings(), axis=1), [1, 1], atol=1e-5)


def test_an_unknown_pooling_is_refused(workspace: Workspace) -> None:
    folder = copy_of_packaged(Path("encoder"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    workspace.params("embed", {"model": "encoder"})
    with pytest.raises(ValueError, match="expected mean or cls"):
        encoders.find(load(Embed))


def test_a_folder_without_weights_is_refused_with_the_ways_to_get_them(workspace: Workspace) -> None:
    Path("empty").mkdir()
    workspace.params("embed", {"model": "empty"})
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors.*`packaged`.*local folder.*hf download"):
        encoders.find(load(Embed))


def test_a_hub_id_that_cannot_be_had_is_refused_in_one_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    workspace.params("embed", {"model": "nobody/nothing"})
    with pytest.raises(FileNotFoundError, match=r"'nobody/nothing' cannot be had.*`packaged`"):
        encoders.find(load(Embed))


def test_packaged_weights_that_were_changed_are_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "PACKAGED_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="expected 0000"):
        encoders.packaged()


def copy_of_packaged(folder: Path) -> Path:
    """The packaged encoder's files without its pooling file."""
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"):
        (folder / name).symlink_to(encoders.packaged() / name)
    return folder


def test_the_cache_keeps_what_other_shards_hold(workspace: Workspace) -> None:
    cache = EmbeddingCache("digest")
    for text in "ab":
        cache.add([encoders.key(text)], np.full((1, 2), ord(text), np.float32))
    save_file({"keys": np.zeros((0, 16), np.uint8), "vectors": np.zeros((0, 2), np.float32)}, cache.folder / "x.tmp")
    known = EmbeddingCache("digest").load()
    assert {key: vector.tolist() for key, vector in known.items()} == {
        encoders.key("a"): [97.0, 97.0],
        encoders.key("b"): [98.0, 98.0],
    }
