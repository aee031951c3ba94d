"""Serialization of nested frozen dataclasses of arrays, numbers and tuples to named arrays and a small JSON tree.

A file format that separates arrays from the rest (safetensors) can then store any model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def pack(value: Any, path: str = "") -> tuple[dict[str, Array], Any]:
    """Return arrays by their path within `value` (fields and positions joined by dots), and a tree of the rest."""
    if isinstance(value, np.ndarray):
        return {path: np.ascontiguousarray(value)}, {"array": path}
    arrays: dict[str, Array] = {}
    if is_dataclass(value):
        tree: Any = {"kind": type(value).__name__}
        children = {field.name: getattr(value, field.name) for field in fields(value)}
    elif isinstance(value, tuple):
        tree, children = {"kind": "tuple"}, {str(i): child for i, child in enumerate(value)}
    else:
        return arrays, value
    for name, child in children.items():
        found, tree[name] = pack(child, f"{path}.{name}" if path else name)
        arrays |= found
    return arrays, tree


def unpack(arrays: Mapping[str, Array], tree: Any, kinds: Mapping[str, type]) -> Any:
    """Rebuild the value from `pack`; kinds: the allowed dataclasses. Raises ValueError for missing or unknown parts."""
    if not isinstance(tree, Mapping):
        return tree
    if "array" in tree:
        if tree["array"] not in arrays:
            raise ValueError(f"the array {tree['array']} is missing")
        return arrays[tree["array"]]
    children = {name: unpack(arrays, child, kinds) for name, child in tree.items() if name != "kind"}
    kind = str(tree.get("kind"))
    if kind == "tuple":
        return tuple(children.values())
    if kind not in kinds:
        raise ValueError(f"{kind!r} is none of {', '.join(kinds)}")
    expected = {field.name for field in fields(kinds[kind])}
    if expected != children.keys():
        raise ValueError(f"{kind} has {', '.join(sorted(children))}, expected {', '.join(sorted(expected))}")
    return kinds[kind](**children)
