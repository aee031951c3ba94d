"""Search for a user in files: tables by column, ids of a Bento one by one, JSON by its strings, other text by words.

Archives are searched member by member; of a Bento, only the data, not the code.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from pipelines.ingest.formats import known
from pipelines.ingest.formats.format import mention

CODE = (".py", ".yaml", ".md")  # no user data
MAX_HEADER = 10**8  # bytes, as the safetensors format allows
PACKED = "src/packed/"  # of a Bento


class Traces:
    """The names of one user: the id, and the pseudonym if there is one."""

    def __init__(self, names: Iterable[str], columns: Collection[str] = ()) -> None:
        """columns: of users in source files."""
        self.names, self.columns = set(names), columns
        self.words = mention(self.names)

    def in_file(self, name: str, file: BinaryIO) -> bool:
        """Return whether a file, called `name`, mentions the user; an unreadable file counts as one without users."""
        start = file.read(512)
        file.seek(0)
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < MAX_HEADER:
            return self.in_arrays(file)
        searches = [search for each in known.FORMATS for search in each.SEARCHES]
        kinds: list[tuple[int, bytes, Callable[[BinaryIO], bool]]] = [
            (0, b"PK\x03\x04", self.in_zip),
            (257, b"ustar", self.in_tar),
            (0, b"\xfd7zXZ\x00", self.in_tar),  # Bentos of early releases
            (0, b"\x1f\x8b", self.in_tar),
            *((0, search.signature, partial(search.mentions, self.words, self.columns)) for search in searches),
        ]
        looks = [look for at, magic, look in kinds if start[at:].startswith(magic)]
        for look in looks:  # several kinds may begin with the same bytes: a tar and a text, both packed by gzip
            try:
                file.seek(0)
                return look(file)
            except (pa.ArrowInvalid, OSError, zipfile.BadZipFile, tarfile.TarError, EOFError):
                continue
        return not looks and self.in_text(name, file)

    def in_arrays(self, file: BinaryIO) -> bool:
        """Search a safetensors file, in which `models.inference.strings` stores ids end to end as `user_id`."""
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        if "user_id.text" not in header:
            return False

        def content(name: str) -> bytes:
            begin, end = header[name]["data_offsets"]
            file.seek(8 + size + begin)
            return file.read(end - begin)

        text, bounds = content("user_id.text"), [0, *np.frombuffer(content("user_id.ends"), np.int64).tolist()]
        return any(is_one_of(name.encode(), text, bounds) for name in self.names)

    def in_zip(self, file: BinaryIO) -> bool:
        with zipfile.ZipFile(file) as archive:
            return any(self.in_file(name, io.BytesIO(archive.read(name))) for name in archive.namelist())

    def in_tar(self, file: BinaryIO) -> bool:
        is_bento = False
        with tarfile.open(fileobj=file) as archive:
            for member in archive:
                is_bento = is_bento or member.name.removeprefix("./") == "bento.yaml"
                if not member.isfile() or (is_bento and PACKED not in member.name):
                    continue
                content = archive.extractfile(member)
                if content is not None and self.in_file(member.name, io.BytesIO(content.read())):
                    return True
        return False

    def in_text(self, name: str, file: BinaryIO) -> bool:
        try:
            text = file.read().decode("utf-8")
        except UnicodeDecodeError:
            return False
        try:
            return self.in_value(json.loads(text))
        except ValueError:
            return re.search(self.words, text, re.MULTILINE) is not None and not name.endswith(CODE)

    def in_value(self, value: Any) -> bool:
        """Return whether a string in a JSON value is or mentions the user; numbers are ignored."""
        if isinstance(value, str):
            return re.search(self.words, value) is not None
        if isinstance(value, dict):
            return any(self.in_value(part) for item in value.items() for part in item)
        return isinstance(value, list) and any(map(self.in_value, value))


def is_one_of(name: bytes, text: bytes, bounds: list[int]) -> bool:
    """Return whether a name is one of those stored end to end in `text`, the n-th from bounds[n] to bounds[n + 1]."""
    at = text.find(name)
    while at >= 0:
        n = bisect_left(bounds, at)
        if bounds[n : n + 2] == [at, at + len(name)]:
            return True
        at = text.find(name, at + 1)
    return False
