"""An xz file without compression: for numbers that do not compress, on which xz would spend seconds per 10 MB.

Layout: https://tukaani.org/xz/xz-file-format.txt, one block of LZMA2 chunks of the kind "uncompressed".
"""

from __future__ import annotations

import struct
from typing import IO, Self
from zlib import crc32

MAGIC, END = b"\xfd7zXZ\0", b"YZ"
FLAGS = b"\0\x01"  # the check after the block is a CRC32
HEADER = b"\x02\0\x21\x01\0\0\0\0"  # 12 bytes with its CRC32; one filter, LZMA2 (0x21), dictionary of 4 KiB (0)
FIRST, FURTHER, LAST = b"\x01", b"\x02", b"\0"  # kinds of chunks; the first resets the dictionary
CHUNK = 2**16


class StoredXz:
    """A file to write to; it is invalid until it is closed."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.waiting = bytearray()  # less than a chunk
        self.size, self.n_chunks, self.check = 0, 0, 0
        self.file.write(MAGIC + FLAGS + checked(FLAGS) + HEADER + checked(HEADER))

    def write(self, data: bytes) -> int:
        self.check = crc32(data, self.check)
        self.waiting += data
        whole = len(self.waiting) // CHUNK * CHUNK
        for start in range(0, whole, CHUNK):
            self.chunk(self.waiting[start : start + CHUNK])
        del self.waiting[:whole]
        return len(data)

    def chunk(self, data: bytes | bytearray) -> None:
        self.file.write((FURTHER if self.n_chunks else FIRST) + struct.pack(">H", len(data) - 1) + data)
        self.n_chunks += 1
        self.size += len(data)

    def close(self) -> None:
        if self.waiting:
            self.chunk(self.waiting)
        self.file.write(LAST)
        block = len(HEADER) + 4 + self.size + 3 * self.n_chunks + 1
        self.file.write(bytes(-block % 4) + struct.pack("<I", self.check))
        index = b"\0" + number(1) + number(block + 4) + number(self.size)
        index += bytes(-len(index) % 4)
        footer = struct.pack("<I", (len(index) + 4) // 4 - 1) + FLAGS
        self.file.write(index + checked(index) + checked(footer) + footer + END)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:  # a failed file must not look complete
            self.close()


def checked(data: bytes) -> bytes:
    """Return the CRC32 of the data, in the file's byte order."""
    return struct.pack("<I", crc32(data))


def number(value: int) -> bytes:
    """Encode seven bits per byte, the lowest first; the eighth is set if more follow."""
    digits = bytearray()
    while value >= 0x80:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])
