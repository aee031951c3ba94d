"""Compiled code is found again wherever equal sources lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.compute import compiled
from models.training import pair_kernel, plain_pair_kernel, row_kernel


def folder(path: Path, source: str) -> str:
    path.parent.mkdir()
    path.write_text(source, "utf-8")
    return compiled.PerUser.get_suitable_cache_subpath(str(path))


def test_clones_of_equal_sources_share_a_folder_and_others_do_not(tmp_path: Path) -> None:
    first = folder(tmp_path / "one" / "kernel.py", "LINE = 16\n")
    assert folder(tmp_path / "two" / "kernel.py", "LINE = 16\n") == first
    assert folder(tmp_path / "three" / "kernel.py", "LINE = 32\n") != first


def test_another_source_of_what_kernels_take_in_is_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "INCLUDED", {})
    alone = folder(tmp_path / "one" / "kernel.py", "LINE = 16\n")
    monkeypatch.setitem(compiled.INCLUDED, str(tmp_path / "one" / "kernel.py"), (pair_kernel,))
    assert compiled.PerUser.get_suitable_cache_subpath(str(tmp_path / "one" / "kernel.py")) != alone


def test_the_row_kernel_takes_in_the_pair_kernel() -> None:
    assert compiled.INCLUDED[row_kernel.__file__] == (pair_kernel, plain_pair_kernel)


def test_kernels_are_kept_there() -> None:
    place = Path(str(row_kernel._improve.stats.cache_path)).name
    assert place == compiled.PerUser.get_suitable_cache_subpath(row_kernel.__file__)
