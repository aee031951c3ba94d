"""Whether a file names a user: tables by column, JSON by its texts, other text by its words, archives by member."""

from __future__ import annotations

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

NAMING = ("user_id", "raw", "detail")  # the columns of our tables that can name a user
ROWS = 1 << 16


class Traces:
    """The names of one user: the id, and its pseudonym where there is one."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self.words = rf"(?:^|[^\w-])(?:{'|'.join(map(re.escape, sorted(self.names)))})(?:$|[^\w-])"

    def in_file(self, name: str, file: BinaryIO) -> bool:
        """Whether a file, called `name`, names the user; what cannot be read is taken for what holds nobody."""
        start = file.read(6)
        file.seek(0)
        kinds: list[tuple[bytes, Callable[[BinaryIO], bool]]] = [
            (b"PAR1", self.in_parquet),
            (b"PK\x03\x04", self.in_zip),
            (b"\xfd7zXZ\x00", self.in_tar),
            (b"\x1f\x8b", self.in_tar),
        ]
        for magic, look in kinds:
            if start.startswith(magic):
                try:
                    return look(file)
                except (pa.ArrowInvalid, OSError, zipfile.BadZipFile, tarfile.TarError, EOFError):
                    return False
        return self.in_text(name, file)

    def in_parquet(self, file: BinaryIO) -> bool:
        table = pq.ParquetFile(file)
        columns = [name for name in NAMING if name in table.schema_arrow.names]
        return any(
            pc.any(pc.match_substring_regex(column.cast(pa.string()), self.words)).as_py()
            for batch in (table.iter_batches(ROWS, columns=columns) if columns else ())
            for column in batch.columns
        )

    def in_zip(self, file: BinaryIO) -> bool:
        with zipfile.ZipFile(file) as archive:
            return any(self.in_file(name, io.BytesIO(archive.read(name))) for name in archive.namelist())

    def in_tar(self, file: BinaryIO) -> bool:
        with tarfile.open(fileobj=file) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
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
            return re.search(self.words, text, re.MULTILINE) is not None and not name.endswith((".py", ".yaml"))

    def in_value(self, value: Any) -> bool:
        """Whether a text of a JSON value is or names the user; a number never does."""
        if isinstance(value, str):
            return re.search(self.words, value) is not None
        if isinstance(value, dict):
            return any(self.in_value(part) for item in value.items() for part in item)
        return isinstance(value, list) and any(map(self.in_value, value))
