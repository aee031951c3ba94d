from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

from models.inference.encoder.projection import fit
from pipelines.artifacts import checkpoint, outputs, tables
from pipelines.embed import cache as embedding_cache
from pipelines.embed import shards
from pipelines.embed import stage as embed
from pipelines.embed import vectors as item_vectors
from pipelines.embed.shards import Halves, Keys
from pipelines.settings.document import load
from pipelines.settings.embed import Embed
from tests.conftest import REPO, Workspace

TEXTS = ["A lighthouse keeper finds a letter", "Two detectives in the rain", "", "Robots learn to garden " * 200]


def write_items(texts: Sequence[object], kind: pa.DataType | None = None, **further: Sequence[object]) -> None:
    with outputs.stage("split") as stage:
        ids = [f"{n:04}" for n in range(len(texts))]
        column = pa.array(texts, kind or pa.string())
        tables.write(pa.table({"item_id": ids, "text": column, **further}), stage.output("items.parquet"))


def embeddings() -> npt.NDArray[np.float32]:
    return load_file("data/embed/embeddings.safetensors")["embeddings"]


@pytest.fixture
def peer() -> npt.NDArray[np.float32]:
    """The texts that are not empty, by an independent implementation of the same encoder."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(checkpoint.packaged()), device="cpu")
    model.max_seq_length = 256
    return np.asarray(model.encode([TEXTS[0], TEXTS[1], TEXTS[3]], normalize_embeddings=True))


@pytest.mark.slow
def test_vectors_in_fp32_equal_those_of_sentence_transformers(
    workspace: Workspace, peer: npt.NDArray[np.float32]
) -> None:
    workspace.params("embed", {"precision": "fp32"})
    write_items(TEXTS)
    embed.main()
    np.testing.assert_allclose(embeddings()[[0, 1, 3]], peer, atol=1e-4)  # they are kept in 16 bits


@pytest.mark.slow
def test_vectors_in_bf16_have_their_direction(workspace: Workspace, peer: npt.NDArray[np.float32]) -> None:
    workspace.params("embed", {"precision": "bf16"})
    write_items(TEXTS)
    embed.main()
    assert (embeddings()[[0, 1, 3]] * peer).sum(1).min() > 0.9998


def test_an_empty_text_has_the_zero_vector_and_is_counted_and_others_have_length_one(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_items(TEXTS)
    embed.main()
    np.testing.assert_allclose(np.linalg.norm(embeddings(), axis=1), [1, 1, 0, 1], atol=1e-5)
    assert "4 texts, 1 of them empty; 3 distinct, 3 to compute" in capsys.readouterr().out


@pytest.mark.slow
def test_vectors_are_reduced_to_components_of_what_was_in_train(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [*TEXTS, "A garden of robots", "Rain on the lighthouse"]
    popularity = [2, 1, 5, 4, 0, 1]
    write_items(texts, popularity=popularity)
    embed.main()
    whole = embeddings()
    workspace.params("embed", {"reduce": {"method": "pca", "dimensions": 2}})
    embed.main()
    said = capsys.readouterr().out.splitlines()
    assert "0 to compute" in said[-3]
    assert "2 components of 384 explain" in said[-1]
    expected = fit(whole, np.array([0, 1, 3, 5]), method="pca", dim=2)
    np.testing.assert_allclose(embeddings(), expected(whole), atol=1e-5)
    assert not embeddings()[2].any()
    workspace.params("embed", {"reduce": {"method": "pca", "dimensions": 9}})
    with pytest.raises(ValueError, match="the 4 texts of train span 3 directions"):
        embed.main()


@pytest.mark.slow
def test_only_new_texts_are_computed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write_items(TEXTS[:2])
    embed.main()
    before = embeddings()
    write_items(["Another text", *TEXTS[:2]])
    capsys.readouterr()
    embed.main()
    assert "3 distinct, 1 to compute" in capsys.readouterr().out
    np.testing.assert_array_equal(embeddings()[1:], before)


def test_equal_texts_are_computed_once_and_are_equal(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write_items([TEXTS[0]] * 70 + [TEXTS[1]])
    embed.main()
    assert "71 texts, 0 of them empty; 2 distinct, 2 to compute" in capsys.readouterr().out
    assert (embeddings()[:70] == embeddings()[0]).all()
    assert (embeddings()[70] != embeddings()[0]).any()


@pytest.mark.slow
def test_a_damaged_vector_in_the_cache_is_computed_again_and_said(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_items(TEXTS[:2])
    embed.main()
    before = embeddings()
    (shard,) = Path(".longtail/embeddings").rglob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    capsys.readouterr()
    embed.main()
    printed = capsys.readouterr().out
    assert "1 texts are computed again" in printed
    assert "because of damage in" in printed
    np.testing.assert_array_equal(embeddings(), before)
    embed.main()
    assert "0 to compute" in capsys.readouterr().out


@pytest.mark.slow
def test_a_file_that_is_no_shard_is_removed_and_its_texts_are_computed_again(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_items(TEXTS[:2])
    embed.main()
    before = embeddings()
    (shard,) = Path(".longtail/embeddings").rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-5])
    embed.main()
    assert "was damaged: its texts are computed again" in capsys.readouterr().out
    np.testing.assert_array_equal(embeddings(), before)


@pytest.mark.slow
def test_fp32_is_not_served_from_bf16_but_auto_takes_what_there_is(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_items(TEXTS[:2])
    for precision, computed in (("bf16", 2), ("fp32", 2), ("auto", 0)):
        workspace.params("embed", {"precision": precision})
        embed.main()
        assert f"{computed} to compute" in capsys.readouterr().out


@pytest.mark.slow
def test_vectors_do_not_depend_on_the_other_texts_or_their_order(workspace: Workspace) -> None:
    texts = [f"{'word ' * (n % 7)}number {n}" for n in range(40)]
    write_items(texts)
    embed.main()
    together = embeddings()
    shutil.rmtree(".longtail")
    write_items(texts[7:20][::-1])
    embed.main()
    np.testing.assert_allclose(embeddings()[::-1], together[7:20], atol=1e-3)


HOSTILE = [
    *["x" * 10**6, "é " * 10**5, "\x00\x01\x02", "👩‍🚀🚀", "מגדלור ישן", "كتاب", "\u200b", "\ufeff", "a\tb\r\nc", " "],
]


@pytest.mark.slow
def test_hostile_texts_have_finite_vectors_of_length_one_or_zero(workspace: Workspace) -> None:
    write_items(HOSTILE)
    embed.main()
    lengths = np.linalg.norm(embeddings(), axis=1)
    assert np.isin(lengths.round(4), [0, 1]).all()
    assert lengths[[0, 1, 3, 4, 5, 8]].min() > 0.999
    assert lengths[[2, 6, 9]].max() == 0  # nothing in them is a token


@pytest.mark.parametrize("texts", [[], ["one"], ["", ""], [None, "one"], ["same"] * 5])
def test_any_number_of_items_will_do(workspace: Workspace, texts: list[str]) -> None:
    write_items(texts)
    embed.main()
    assert embeddings().shape == (len(texts), 384)
    assert np.isfinite(embeddings()).all()


@pytest.mark.slow
def test_what_is_no_text_is_made_one(workspace: Workspace) -> None:
    write_items([b"caf\xc3\xa9", b"caf\xe9", None], pa.binary())
    embed.main()
    assert np.linalg.norm(embeddings(), axis=1).round(3).tolist() == [1, 1, 0]
    write_items([7, None], pa.int64())
    embed.main()
    assert np.linalg.norm(embeddings(), axis=1).round(3).tolist() == [1, 0]


@pytest.mark.slow
def test_an_interrupted_run_goes_on_from_the_cache(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(item_vectors, "SHARD", 4)
    write_items([f"text {n}" for n in range(12)])
    written: list[int] = []

    def interrupted(folder: Path, keys: Keys, vectors: Halves) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(len(keys))
        shards.write(folder, keys, vectors)

    with monkeypatch.context() as patch:
        patch.setattr(embedding_cache, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            embed.main()
    assert not Path("data/embed").exists()
    capsys.readouterr()
    embed.main()
    assert "12 distinct, 4 to compute" in capsys.readouterr().out


def test_texts_that_are_cut_are_counted(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.params("embed", {"max_length": 8})
    write_items(TEXTS)
    embed.main()
    assert "2 texts reach 8 tokens" in capsys.readouterr().out


def test_worktrees_share_the_cache(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@localhost")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "start"], check=True)
    subprocess.run([*git, "worktree", "add", "-q", "other"], check=True, capture_output=True)
    here = embedding_cache.root().absolute()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("other")
        assert embedding_cache.root().resolve() == here


@pytest.mark.slow
def test_another_length_prompt_or_number_of_dimensions_is_another_encoder(workspace: Workspace) -> None:
    digests = [checkpoint.find(load(Embed)).digest]
    for change in ({"max_length": 64}, {"prompt": "title: "}, {"dimensions": 64}):
        workspace.params("embed", change)
        digests.append(checkpoint.find(load(Embed)).digest)
    assert len(set(digests)) == 4


@pytest.mark.slow
def test_leading_dimensions_are_those_of_the_whole_vector(workspace: Workspace) -> None:
    write_items(TEXTS[:2])
    embed.main()
    whole = embeddings()
    workspace.params("embed", {"dimensions": 64})
    embed.main()
    expected = whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True)
    np.testing.assert_allclose(embeddings(), expected, atol=1e-3)


def test_more_dimensions_than_the_model_has_are_refused(workspace: Workspace) -> None:
    workspace.params("embed", {"dimensions": 385})
    with pytest.raises(ValueError, match="has 384"):
        checkpoint.find(load(Embed))


def test_more_tokens_than_the_model_has_positions_are_refused(workspace: Workspace) -> None:
    workspace.params("embed", {"max_length": 513})
    with pytest.raises(ValueError, match="has 512 positions"):
        checkpoint.find(load(Embed))


@pytest.mark.slow
def test_a_prompt_is_read_from_the_model_and_params_have_the_last_word(workspace: Workspace) -> None:
    folder = copy_of_packaged(Path("encoder"))
    prompts = {"query": "query: ", "passage": "passage: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    workspace.params("embed", {"model": "encoder"})
    assert checkpoint.find(load(Embed)).prompt == "passage: "
    write_items([TEXTS[0]])
    embed.main()
    workspace.params("embed", {"prompt": ""})
    assert checkpoint.find(load(Embed)).prompt == ""
    prompted = embeddings()
    write_items([f"passage: {TEXTS[0]}"])
    embed.main()
    np.testing.assert_allclose(embeddings(), prompted, atol=1e-3)


def test_a_module_that_is_not_computed_here_is_refused(workspace: Workspace) -> None:
    folder = copy_of_packaged(Path("encoder"))
    kinds = ["sentence_transformers.models.Transformer", "sentence_transformers.models.Dense"]
    (folder / "modules.json").write_text(json.dumps([{"type": kind} for kind in kinds]))
    workspace.params("embed", {"model": "encoder"})
    with pytest.raises(ValueError, match="lists Dense"):
        checkpoint.find(load(Embed))


def test_an_encoder_of_another_architecture_is_run_by_the_transformers_library(workspace: Workspace) -> None:
    """DistilBERT with random weights under the packaged tokenizer."""
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    model = DistilBertModel(DistilBertConfig(dim=16, hidden_dim=32, n_layers=1, n_heads=2)).train(False)
    model.save_pretrained("other")
    shutil.copy(checkpoint.packaged() / "tokenizer.json", "other")
    config = outputs.read_json(Path("other/config.json"))
    outputs.write_json(Path("other/config.json"), {**config, "hidden_size": 16})
    workspace.params("embed", {"model": "other", "precision": "fp32"})
    write_items(TEXTS[:2])
    embed.main()
    with torch.inference_mode():
        ids = torch.tensor([[101, 1037, 10171, 10684, 4858, 1037, 3661, 102]])
        expected = torch.nn.functional.normalize(model(input_ids=ids).last_hidden_state.mean(1), dim=1)[0]
    np.testing.assert_allclose(embeddings()[0], expected.numpy(), atol=1e-3)


@pytest.mark.slow
def test_processes_share_the_work_and_the_result_is_that_of_one(workspace: Workspace) -> None:
    write_items([f"{'word ' * (n % 9)}number {n % 90}" for n in range(100)])
    embed.main()
    alone = embeddings()
    shutil.rmtree(".longtail")
    shutil.rmtree("data/embed")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "PYTHONPATH": str(workspace.root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "-m", "pipelines.embed"], env=environment, capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(embeddings(), alone, atol=1e-3)
    assert "90 distinct, 0 to compute" in done.stdout  # by the one that writes
    assert done.stdout.count("texts/s) in") == 2
    assert outputs.verify(Path("data/embed/embeddings.safetensors"))


WRITER = """
import sys, numpy as np
from pathlib import Path
from pipelines.embed import cache as caches
n, rng = int(sys.argv[1]), np.random.default_rng(int(sys.argv[1]))
print("ready", flush=True)
for step in range(int(sys.argv[2])):
    texts = [f"text {number}" for number in rng.integers(0, 500, 50)]
    vectors = np.array([[int(text[5:])] * 8 for text in texts], np.float16)
    caches.add(Path("cache"), caches.keys_of(texts), vectors)
    caches.merge(Path("cache"), 8)
"""


def writer(seed: int, steps: int) -> subprocess.Popen[bytes]:
    environment = {"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(seed), str(steps)], env=environment, stdout=subprocess.PIPE
    )


def assert_cache_holds_what_was_written() -> int:
    """Number of the texts that the cache knows, each with its own vector."""
    cache = embedding_cache.EmbeddingCache([Path("cache")], 8)
    rows = cache.find(embedding_cache.keys_of(f"text {number}" for number in range(500)))
    known = np.flatnonzero(rows >= 0)
    vectors, intact = cache.read(rows[known])
    assert cache.damaged == []
    assert intact.all()
    np.testing.assert_array_equal(vectors, np.tile(known[:, None], 8))
    return len(known)


@pytest.mark.slow
def test_two_writers_lose_nothing(workspace: Workspace) -> None:
    both = [writer(1, 40), writer(2, 40)]
    assert [process.wait(60) for process in both] == [0, 0]
    rng = [np.random.default_rng(seed).integers(0, 500, 40 * 50) for seed in (1, 2)]
    # the generators are drawn from in fifties, which gives the same numbers
    assert assert_cache_holds_what_was_written() == len(np.unique(rng))
    assert len(list(Path("cache").glob("*.safetensors"))) < 80  # and they were merged meanwhile


@pytest.mark.slow
def test_a_writer_killed_at_any_time_leaves_whole_shards(workspace: Workspace) -> None:
    for attempt in range(4):
        process = writer(attempt, 10_000)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        while process.poll() is None and not any(Path("cache").glob("*.safetensors")):
            time.sleep(0.01)  # a busy machine may take long for the first
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.15 + 0.05 * attempt)
        process.kill()
        process.wait()
        assert assert_cache_holds_what_was_written() > 0


@pytest.mark.slow
def test_a_local_folder_is_an_encoder_and_its_cls_pooling_is_read(workspace: Workspace) -> None:
    folder = copy_of_packaged(Path("encoder"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    workspace.params("embed", {"model": "encoder"})
    assert checkpoint.find(load(Embed)).pooling == "cls"
    write_items(TEXTS[:2])
    embed.main()
    np.testing.assert_allclose(np.linalg.norm(embeddings(), axis=1), [1, 1], atol=1e-5)


def test_an_unknown_pooling_is_refused(workspace: Workspace) -> None:
    folder = copy_of_packaged(Path("encoder"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    workspace.params("embed", {"model": "encoder"})
    with pytest.raises(ValueError, match="expected mean, cls or last"):
        checkpoint.find(load(Embed))


def test_a_folder_without_weights_is_refused_with_the_ways_to_get_them(workspace: Workspace) -> None:
    Path("empty").mkdir()
    workspace.params("embed", {"model": "empty"})
    with pytest.raises(FileNotFoundError, match=r"no model.safetensors.*`packaged`.*local folder.*hf download"):
        checkpoint.find(load(Embed))


def test_a_hub_id_that_cannot_be_had_is_refused_in_one_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    workspace.params("embed", {"model": "nobody/nothing"})
    with pytest.raises(FileNotFoundError, match=r"'nobody/nothing', which cannot be fetched.*`packaged`"):
        checkpoint.find(load(Embed))


def test_packaged_weights_that_were_changed_are_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PACKAGED_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="expected 0000"):
        checkpoint.packaged()


def copy_of_packaged(folder: Path) -> Path:
    """The packaged encoder's files without its pooling file."""
    folder.mkdir()
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json"):
        (folder / name).symlink_to(checkpoint.packaged() / name)
    return folder


def test_items_that_say_nearly_the_same_are_listed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.params("embed", {"near_duplicates": 0.9})
    write_items([*TEXTS[:2], "A lighthouse keeper finds a letter.", TEXTS[1]])
    embed.main()
    said = tables.read_csv(Path("data/embed/near_duplicates.csv"))
    assert list(zip(said["item_id"], said["other_item_id"], said["same_text"], strict=True)) == [
        ("0001", "0003", "1"),
        ("0000", "0002", "0"),
    ]
    assert "2 pairs of items have texts of cosine 0.9 and more" in capsys.readouterr().out


@pytest.mark.slow
def test_columns_of_the_items_count_by_their_weights(workspace: Workspace) -> None:
    write_items(["A garden", "A garden", "A garden", ""], title=["Robots", "", "Robots", "Robots"])
    alone = []
    for columns in ({"text": 1}, {"title": 3}):
        workspace.params("embed", {"columns": columns})
        embed.main()
        alone.append(embeddings())
    workspace.params("embed", {"columns": {"text": 1, "title": 3}})
    embed.main()
    expected = alone[0] + 3 * alone[1]
    np.testing.assert_allclose(embeddings(), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(embeddings()[1], alone[0][1], atol=1e-5)  # no title: the text alone


def test_a_column_that_the_items_lack_is_named_with_those_they_have(workspace: Workspace) -> None:
    write_items(TEXTS)
    workspace.params("embed", {"columns": {"plot": 1}})
    with pytest.raises(ValueError, match="'plot', expected some of the items' columns item_id, text"):
        embed.main()
