"""Many short texts in two arrays: an id takes its bytes plus eight, instead of about a hundred."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Strings(Sequence[str]):
    """Texts stored as UTF-8 bytes end to end."""

    def __init__(self, text: Array, ends: Array) -> None:
        """Wrap the arrays; text: uint8, all bytes; ends: int64 (n,), the end of each text."""
        self.text = text.tobytes()
        # the standard library's array: as fast as a list, as small as an array
        self.ends = array("q", np.concatenate([[0], ends]).astype(np.int64).tobytes())

    @classmethod
    def of(cls, arrays: Mapping[str, Array], name: str) -> Strings:
        return cls(arrays[f"{name}.text"], arrays[f"{name}.ends"])

    def __len__(self) -> int:
        return len(self.ends) - 1

    def encoded(self, i: int) -> bytes:
        return self.text[self.ends[i] : self.ends[i + 1]]

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> list[str]: ...
    def __getitem__(self, i: int | slice) -> str | list[str]:
        if isinstance(i, slice):
            return [self.encoded(j).decode() for j in range(len(self))[i]]
        return self.encoded(range(len(self))[i]).decode()

    def __iter__(self) -> Iterator[str]:
        return (self.encoded(i).decode() for i in range(len(self)))


class Positions(Mapping[str, int]):
    """Mapping from distinct texts to their positions."""

    def __init__(self, strings: Strings, order: Array | None = None) -> None:
        """Keep the texts; order: (n,), positions sorted by the texts' bytes; None if they are sorted."""
        self.strings = strings
        self.order: Any = range(len(strings)) if order is None else array("i", order.astype(np.int32).tobytes())

    def __getitem__(self, text: str) -> int:
        strings, key = self.strings, text.encode("utf-8", "surrogatepass")
        rank = bisect_left(self.order, key, key=strings.encoded)
        if rank < len(self.order) and strings.encoded(found := self.order[rank]) == key:
            return int(found)
        raise KeyError(text)

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and self.get(text) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.strings)

    def __len__(self) -> int:
        return len(self.strings)


def arrays_of(name: str, texts: Sequence[str]) -> dict[str, Array]:
    """Return the arrays for `Strings.of`."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return {f"{name}.text": np.frombuffer(b"".join(encoded), np.uint8), f"{name}.ends": ends}
