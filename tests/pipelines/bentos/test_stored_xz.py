"""What is stored as xz without being compressed is what any xz reader gives back."""

from __future__ import annotations

import io
import lzma
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.bentos.stored_xz import CHUNK, StoredXz


def stored(*parts: bytes) -> bytes:
    file = io.BytesIO()
    with StoredXz(file) as xz:
        for part in parts:
            xz.write(part)
    return file.getvalue()


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_parts_come_back_as_one(parts: list[bytes]) -> None:
    assert lzma.decompress(stored(*parts), format=lzma.FORMAT_XZ) == b"".join(parts)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 17])
def test_sizes_around_whole_chunks_come_back(size: int) -> None:
    data = bytes(i * i % 251 for i in range(size))
    assert lzma.decompress(stored(data)) == data
    assert lzma.decompress(stored(data[: size // 3], data[size // 3 :])) == data


def test_a_flipped_bit_is_noticed() -> None:
    spoiled = bytearray(stored(b"longtail" * 100))
    spoiled[400] ^= 1
    with pytest.raises(lzma.LZMAError):
        lzma.decompress(bytes(spoiled))


def stdlib_reads(path: Path) -> bytes:
    with lzma.open(path) as file:
        return file.read()


def test_what_failed_while_it_was_written_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "half.xz"
    with suppress(InterruptedError), path.open("wb") as file, StoredXz(file) as xz:
        xz.write(b"longtail" * CHUNK)
        raise InterruptedError
    with pytest.raises(EOFError):
        stdlib_reads(path)
