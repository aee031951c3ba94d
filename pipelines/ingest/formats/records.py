"""Group the lines of a delimited text file into records, for files that DuckDB's reader alone gets wrong.

DuckDB reads everything after an unclosed quote as one field (two million rows in one rejected record), and fails on
mixed line ends. `repair` copies such a file without its broken lines and records which those were.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

MAX_LINES = 1000  # of one record; a longer quoted field is taken as unclosed
BLOCK = 1 << 16  # characters per read

Lines = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Dialect:
    """Delimiter and quote of a text file; `quote` None: quotes are ordinary characters."""

    delimiter: str
    quote: str | None

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
        """Patterns of a complete record, a field, and a record that ends inside quotes; possessive, so linear."""
        d, one = re.escape(self.delimiter), rf"(?:(?!{re.escape(self.delimiter)})[^\n])*+"
        opened = r"(?!)"
        if self.quote is not None:
            q = re.escape(self.quote)
            text = rf"{q}(?:[^{q}]|{q}{q})*+"
            one = rf"(?:{text}{q} *|(?!{q}){one})"
            opened = rf"(?:{one}{d})*{text}"
        return re.compile(rf"{one}(?:{d}{one})*+"), re.compile(rf"(?:\A|{d})({one})"), re.compile(opened)

    @cached_property
    def _lines(self) -> re.Pattern[str]:
        """Pattern of lines that are complete records each: as above, without line ends in quoted fields."""
        d, one = re.escape(self.delimiter), rf"(?:(?!{re.escape(self.delimiter)})[^\n])*+"
        if self.quote is not None:
            q = re.escape(self.quote)
            one = rf"(?:{q}(?:[^{q}\n]|{q}{q})*+{q} *|(?!{q}){one})"
        return re.compile(rf"(?:{one}(?:{d}{one})*+\n)*+")

    def split(self, record: str) -> list[str] | None:
        """Return the fields of a record without their quotes; None if it is not complete."""
        whole, one, _ = self._patterns
        if not whole.fullmatch(record):
            return None
        return [self._unquoted(match[1]) for match in one.finditer(record)]

    def has_quote(self, text: str) -> bool:
        return self.quote is not None and self.quote in text

    def is_plain(self, block: str) -> bool:
        """Return whether all lines are complete records."""
        if block.startswith("\n") or "\n\n" in block:
            return False
        return not self.has_quote(block) or self._lines.fullmatch(block) is not None

    def is_open(self, record: str) -> bool:
        """Return whether the record ends inside a quoted field, so that the next line may continue it."""
        return self._patterns[2].fullmatch(record) is not None

    def _unquoted(self, text: str) -> str:
        if self.quote is None or not text.startswith(self.quote):
            return text
        return text.rstrip(" ")[1:-1].replace(self.quote * 2, self.quote)

    def record_size(self, lines: Iterable[str], n_fields: int | None) -> int:
        """Return the number of lines of the first record, 0 if broken; if several, it must have `n_fields`."""
        record = ""
        for n, line in enumerate(lines, start=1):
            record = f"{record}\n{line}" if n > 1 else line
            if self.quote is None:
                return 1
            if self.quote not in line:
                if n == 1:
                    return 1
                continue
            fields = self.split(record)
            if fields is not None:
                return n if n == 1 or n_fields in (None, len(fields)) else 0
            if not self.is_open(record):
                return 0
        return 0


@dataclass
class Repair:
    """Lines of the original that `repair` left out."""

    broken: list[tuple[int, str]] = field(default_factory=list)  # line, its text
    blank: int = 0
    absent: list[int] = field(default_factory=list)  # lines on which no record of the copy starts


def repair(path: Path, copy: Path, dialect: Dialect, *, n_fields: int) -> Repair:
    """Write the complete records of a file, with uniform line ends, to `copy`; leave out broken and blank lines."""
    found = Repair()
    # latin-1 maps every byte to itself, so that a record of invalid UTF-8 reaches the reader, which rejects it
    with (
        path.open(encoding="latin-1", newline=None) as source,
        copy.open("w", encoding="latin-1", newline="\n") as target,
    ):
        for number, lines, whole in records(source, dialect, n_fields=n_fields, plain=target.write):
            found.absent += range(number + 1, number + len(lines))
            if whole and lines != [""]:
                target.write("\n".join(lines) + "\n")
                continue
            found.absent.append(number)
            if whole:
                found.blank += 1
            else:
                found.broken.append((number, as_text(lines[0].encode("latin-1"))))
    found.absent.sort()
    return found


def records(
    source: TextIO, dialect: Dialect, *, n_fields: int | None, plain: Callable[[str], object] | None = None
) -> Iterator[tuple[int, list[str], bool]]:
    """Yield line number, lines, and whether they are a complete record; a broken one is its first line alone.

    plain: receives the blocks with only one-line records, nearly all of a file; these are not yielded.
    """
    waiting: deque[str] = deque()  # lines of an incomplete record
    quoted = 0  # of those lines
    number = 1
    for block in blocks(source):
        if plain and block and not waiting and dialect.is_plain(block):
            plain(block)
            number += block.count("\n")
            continue
        lines = block.split("\n")[:-1]
        waiting.extend(lines)
        quoted += sum(dialect.has_quote(line) for line in lines)
        # a record with quotes may continue in the next block; the last block is empty
        while waiting and (not quoted or len(waiting) >= MAX_LINES or not block):
            size = dialect.record_size(islice(waiting, MAX_LINES), n_fields)
            taken = [waiting.popleft() for _ in range(max(size, 1))]
            quoted -= sum(dialect.has_quote(line) for line in taken)
            yield number, taken, size > 0
            number += len(taken)


def blocks(source: TextIO) -> Iterator[str]:
    """Yield the text in blocks of complete lines, each with its line end; the last block is empty."""
    while block := source.read(BLOCK):
        block += source.readline()
        yield block if block.endswith("\n") else block + "\n"
    yield ""


def as_text(line: bytes) -> str:
    """Return a line as readable text; invalid UTF-8 is escaped as in \\xe9."""
    return line.decode("utf-8", "backslashreplace")


def nth_line(n: Lines, absent: Lines) -> Lines:
    """Return the n-th line (from 1), not counting the sorted lines `absent`."""
    return n + np.searchsorted(lines_before(absent), n, side="left")


def lines_before(absent: Lines) -> Lines:
    """Return, for each absent line, the number of other lines before it."""
    return absent - np.arange(1, len(absent) + 1)


def count(block: bytes, byte: bytes) -> int:
    """Count a byte; five times as fast as `bytes.count` for frequent bytes."""
    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == byte[0]))


def count_lines(path: Path) -> int:
    """Count the lines of a file, with any line end; 0 if the line ends are mixed."""
    cr = lf = crlf = 0
    last = b""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            returns = count(block, b"\r")
            cr, lf = cr + returns, lf + count(block, b"\n")
            if returns or last == b"\r":
                crlf += block.count(b"\r\n") + (last == b"\r" and block[:1] == b"\n")
            last = block[-1:]
    kinds = [count for count in (crlf, lf - crlf, cr - crlf) if count]
    return 0 if len(kinds) > 1 else sum(kinds) + (last not in (b"\r", b"\n", b""))
