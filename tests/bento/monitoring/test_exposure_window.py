"""The window of served lists: what it says of the tail, and that workers share it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bento.monitoring.exposure_window import K, Window
from tests.conftest import REPO

IS_TAIL = np.array([False, False, True, True, True, True])


def window(folder: Path, size: int = 100, model: str = "longtail:a") -> Window:
    return Window(model, IS_TAIL, size, folder)


def items(*indices: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(indices, np.int32)


def test_shares_are_those_of_the_lists(tmp_path: Path) -> None:
    lists = window(tmp_path)
    lists.add(items(0, 2), False)  # half of it tail
    lists.add(items(2, 3, 1, 0), True)
    lists.add(items(0, 1), False)
    found = lists.exposure()
    assert (found.lists, found.distinct, found.size) == (3, 3, 100)
    assert found.tail_share == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert found.tail_coverage == 2 / 4
    assert found.fallback_share == pytest.approx(1 / 3)


def test_no_lists_have_no_share(tmp_path: Path) -> None:
    found = window(tmp_path).exposure()
    assert (found.lists, found.tail_share, found.tail_coverage) == (0, None, None)


def test_an_empty_list_shows_nothing_and_places_beyond_ten_do_not_count(tmp_path: Path) -> None:
    lists = window(tmp_path)
    lists.add(items(), False)
    lists.add(items(*[0] * K, 2, 3), False)
    assert lists.exposure().tail_coverage == 0
    assert lists.exposure().tail_share == 0


def test_the_window_slides(tmp_path: Path) -> None:
    lists = window(tmp_path)
    lists.add(items(2), False)
    for _ in range(400):
        lists.add(items(0), False)
    assert lists.exposure().lists == 400
    assert lists.exposure().tail_share == 0


def test_coverage_is_of_the_newest_different_lists_as_many_as_the_gate_judged(tmp_path: Path) -> None:
    """A user who comes back is shown the same list, and makes the window no fuller."""
    lists = window(tmp_path)
    for _ in range(3):
        lists.add(items(2, 3), False)
    assert (lists.exposure().lists, lists.exposure().distinct) == (3, 1)
    for number in range(100):
        lists.add(items(*[0] * (number // 10 % 10), *[1] * (number % 10)), False)
    found = lists.exposure()
    assert found.distinct <= found.size == 100


def test_workers_of_one_server_share_it_and_other_models_do_not(tmp_path: Path) -> None:
    mine, other = window(tmp_path), window(tmp_path, model="longtail:b")
    mine.add(items(0), False)
    other.add(items(3), False)
    code = f"""
import os, numpy as np
from pathlib import Path
import bento.monitoring.exposure_window as w
w.os.getppid = lambda: {os.getppid()}  # as a sibling of this process
lists = w.Window("longtail:a", np.array({IS_TAIL.tolist()}), 100, Path({str(tmp_path)!r}))
lists.add(np.array([2, 3], np.int32), False)
"""
    subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True)
    assert (mine.exposure().lists, mine.exposure().tail_coverage) == (2, 0.5)
    assert other.exposure().lists == 1
