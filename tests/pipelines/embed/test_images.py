"""Image columns: vectors of a CLIP-like encoder of random weights, beside those of texts in the same space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from pipelines.embed import stage as embed
from tests.conftest import Workspace
from tests.pipelines.embed.test_embed import write_items

WORDS = ["a", "red", "blue", "cover"]
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
PREPARING = {
    "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, "do_resize": True, "resample": 3,
    "crop_size": {"height": 32, "width": 32}, "do_center_crop": True, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_convert_rgb": True,
}  # fmt: skip
COLOURS = {"red.png": (200, 10, 10), "blue.png": (10, 10, 200)}


@pytest.fixture
def clip(workspace: Workspace) -> Any:
    """A model in the folder `clip`, images in `covers`, and settings that name both."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    text = {**TOWER, **special, "vocab_size": 2 + len(WORDS), "max_position_embeddings": 12}
    model: Any = CLIPModel(
        CLIPConfig(text_config=text, vision_config={**TOWER, "image_size": 32, "patch_size": 8}, projection_dim=8)
    )
    model.eval()
    folder = workspace.root / "clip"
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARING))
    vocabulary = {word: number for number, word in enumerate(["<s>", "</s>", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<s>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    covers = workspace.root / "covers"
    covers.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (50, 40), colour).save(covers / name)
    (covers / "same.png").write_bytes((covers / "red.png").read_bytes())
    (covers / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    settings = {"model": "clip", "max_length": 10, "precision": "fp32", "near_duplicates": None}
    workspace.params("embed", settings | {"columns": {"cover": 1.0}, "images": {"cover": "covers"}})
    return model


def vectors() -> npt.NDArray[np.float32]:
    embed.main()
    return load_file("data/embed/embeddings.safetensors")["embeddings"]


def of_image(clip: Any, name: str) -> npt.NDArray[np.float32]:
    """By the definition: prepared as the settings say, a plain colour being the same at any size."""
    pixels = (np.array(COLOURS[name], np.float32) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        full = torch.from_numpy(pixels)[None, :, None, None].expand(1, 3, 32, 32)
        found = clip.get_image_features(pixel_values=full)
    pooled = getattr(found, "pooler_output", found)[0].numpy()
    return np.asarray(pooled / np.linalg.norm(pooled))


def of_text(clip: Any, text: str) -> npt.NDArray[np.float32]:
    ids = [0, *(2 + WORDS.index(word) for word in text.split()), 1]
    with torch.inference_mode():
        found = clip.get_text_features(input_ids=torch.tensor([ids]))
    pooled = getattr(found, "pooler_output", found)[0].numpy()
    return np.asarray(pooled / np.linalg.norm(pooled))


def test_images_have_the_vectors_of_the_transformers_library_and_equal_files_are_computed_once(
    clip: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write_items([""] * 4, cover=["red.png", "blue.png", "same.png", ""])
    found = vectors()
    expected = np.stack([of_image(clip, name) for name in ("red.png", "blue.png", "red.png")])
    np.testing.assert_allclose(found[:3], expected, atol=2e-3)
    assert not found[3].any()
    assert "4 images, 1 of them empty; 2 distinct, 2 to compute" in capsys.readouterr().out
    vectors()
    assert "2 distinct, 0 to compute" in capsys.readouterr().out


def test_texts_and_images_are_mixed_in_their_common_space(clip: Any, workspace: Workspace) -> None:
    workspace.params("embed", {"columns": {"text": 2.0, "cover": 1.0}})
    write_items(["a red cover", "a blue cover"], cover=["red.png", ""])
    found = vectors()
    mixed = 2 * of_text(clip, "a red cover") + of_image(clip, "red.png")
    np.testing.assert_allclose(found[0], mixed / np.linalg.norm(mixed), atol=2e-3)
    np.testing.assert_allclose(found[1], of_text(clip, "a blue cover"), atol=2e-3)


def test_what_is_no_image_is_said_and_has_no_vector(clip: Any, capsys: pytest.CaptureFixture[str]) -> None:
    write_items([""] * 4, cover=["red.png", "broken.png", "none.png", "../params.yaml"])
    found = vectors()
    assert found.any(axis=1).tolist() == [True, False, False, False]
    said = capsys.readouterr().out
    assert "2 images of the column 'cover' are not below covers, such as 'none.png'" in said
    assert "1 files are not readable images, such as covers/broken.png" in said


@pytest.mark.parametrize(
    ("covers", "changes", "message"),
    [
        (["none.png"], {}, "all 1 images of the column 'cover' are not below covers"),
        (["broken.png"], {}, "1 files are not readable images.*may have the wrong column"),
        (["red.png"], {"columns": {"text": 1.0}}, "embed.images has cover, missing from embed.columns"),
        (["red.png"], {"max_length": 100}, "embed.max_length is 100, but .* has 12 positions"),
        (["red.png"], {"model": "packaged"}, "embed.images has cover, but embed.model 'packaged' is a bert"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    clip: Any, workspace: Workspace, covers: list[str], changes: dict[str, Any], message: str
) -> None:
    workspace.params("embed", changes)
    write_items(["a cover"], cover=covers)
    with pytest.raises(ValueError, match=message):
        embed.main()
    assert not Path("data/embed").exists()


def test_an_encoder_without_settings_for_images_is_incomplete(clip: Any) -> None:
    Path("clip/preprocessor_config.json").unlink()
    write_items(["a cover"], cover=["red.png"])
    with pytest.raises(FileNotFoundError, match=r"has no preprocessor_config.json, required for images"):
        embed.main()
