"""Model file: `Factors` as safetensors, with all values that are not arrays and the provenance in the header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from models.inference.factors import Factors


def write(factors: Factors, path: Path, *, provenance: dict[str, Any]) -> None:
    """Write the model; `provenance` is small JSON such as the encoder's digest and the training settings."""
    arrays, tree = factors.to_tensors()
    # one key: safetensors writes several in no fixed order, and equal models must give equal files
    header = json.dumps({"model": tree, "provenance": provenance}, sort_keys=True)
    save_file(arrays, path, metadata={"longtail": header})


def read(path: Path) -> tuple[Factors, dict[str, Any]]:
    """Return the model and its provenance."""
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            header = json.loads((file.metadata() or {}).get("longtail", "{}"))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a valid model file ({error}); run `dvc repro train --force`") from None
    return Factors.from_tensors(arrays, header.get("model")), header.get("provenance", {})
