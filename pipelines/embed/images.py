"""Columns of the items that name image files: equal files are one, and vectors come from a CLIP-like encoder."""

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

BATCH = 32  # images in the encoder at once
Pixels = npt.NDArray[np.float32]


def contents(column: Column, folder: Path, name: str) -> tuple[Column, dict[str, Path]]:
    """sha256 of the file that each row names below `folder`, empty where there is none; and where each content is.

    Raises ValueError where no file is found at all.
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
    """Yield (rows, vectors) of the files that are images; the others are said, and raise ValueError where all are."""
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
        text = f"{len(broken):,} files are no images that can be read, such as {broken[0]}"
        if len(broken) == len(rows):
            raise ValueError(f"{text}: embed.images may name the wrong column")
        say("embed", f"{text}: these items have no image")


def pixels(path: Path, processor: Any) -> Pixels | str:
    """An image as the encoder's own settings prepare it, (3, height, width); or why it cannot be read."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            prepared: Pixels = processor(images=[image.convert("RGB")], return_tensors="np")["pixel_values"][0]
            return prepared
    except UnidentifiedImageError:
        return f"{path} (no known format)"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # as Pillow's formats raise
        return f"{path} ({error})"
