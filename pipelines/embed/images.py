"""Image columns of the items: equal files count as one, and vectors are computed by a CLIP-like encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.artifacts import checkpoint
from pipelines.embed.cache import Rows
from pipelines.embed.texts import Column
from pipelines.runtime.console import say

if TYPE_CHECKING:
    import torch

BATCH = 32  # images per batch
Pixels = npt.NDArray[np.float32]


def contents(column: Column, folder: Path, name: str) -> tuple[Column, dict[str, Path]]:
    """Return the sha256 of each row's file below `folder`, empty if there is none; and a path for each content.

    Raises ValueError if all files are missing.
    """
    files: dict[str, str] = {}
    found: dict[str, Path] = {}
    missing: list[str] = []
    for value in column.unique().to_pylist():
        path = folder / str(value or "")
        if not value:
            continue
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            missing.append(str(value))
            continue
        with path.open("rb") as file:
            files[str(value)] = digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.setdefault(digest, path)
    if missing:
        text = f"{len(missing):,} images of the column {name!r} are not below {folder}, such as {missing[0]!r}"
        if not found:
            raise ValueError(f"all {text}; correct embed.images, or the paths")
        say("embed", f"{text}: these items have no image")
    digests = [files.get(str(value or ""), "") for value in column.to_pylist()]
    return pa.chunked_array([pa.array(digests, pa.string())]), found


def vectors(
    rows: Rows, paths: list[Path], encoder: checkpoint.Encoder, *, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[Rows, npt.NDArray[np.float32]]]:
    """Yield (rows, vectors) of readable images; the others are logged. Raises ValueError if all are unreadable."""
    import torch

    tower, processor = checkpoint.load_images(encoder, device=device, dtype=dtype)
    broken: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, len(rows), BATCH):
            read = list(pool.map(lambda path: pixels(path, processor), paths[start : start + BATCH]))
            intact = [number for number, image in enumerate(read) if not isinstance(image, str)]
            broken += [image for image in read if isinstance(image, str)]
            if intact:
                batch = torch.from_numpy(np.stack([image for image in read if not isinstance(image, str)]))
                yield rows[start : start + BATCH][intact], tower(batch, dim=encoder.dim).numpy()
    if broken:
        text = f"{len(broken):,} files are not readable images, such as {broken[0]}"
        if len(broken) == len(rows):
            raise ValueError(f"{text}; correct embed.images, which may have the wrong column")
        say("embed", f"{text}: these items have no image")


def pixels(path: Path, processor: Any) -> Pixels | str:
    """Return an image preprocessed by the encoder's settings, (3, height, width); or why it is unreadable."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            prepared: Pixels = processor(images=[image.convert("RGB")], return_tensors="np")["pixel_values"][0]
            return prepared
    except UnidentifiedImageError:
        return f"{path} (no known format)"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # errors of Pillow's formats
        return f"{path} ({error})"
