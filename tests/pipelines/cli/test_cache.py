from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.cli import cache as cli_cache
from pipelines.embed import cache
from tests.conftest import Workspace


def fill(folder: str, n_texts: int, *, used: float) -> Path:
    """A shard of as many texts with vectors of length 256, last used at a time in seconds since 1970."""
    path = Path(".longtail/embeddings", folder)
    cache.add(path, cache.keys_of(map(str, range(n_texts))), np.ones((n_texts, 256), np.float16))
    (shard,) = path.glob("*.safetensors")
    os.utime(shard, (used, used))
    return shard


def run(*words: str) -> None:
    parser = argparse.ArgumentParser()
    cli_cache.add_arguments(parser)
    cli_cache.run_cache(parser.parse_args(words))


def test_stats_count_texts_and_bytes_of_each_encoder(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    fill("a" * 64 + "/bf16", 1000, used=2e9)
    fill("b" * 64 + "/fp32", 2000, used=1e9)
    run("stats")
    head, newer, older, total = capsys.readouterr().out.splitlines()
    assert "encoder" in head
    assert newer.split()[:4] == ["a" * 12, "bf16", "1,000", "0.5"]
    assert older.split()[:3] == ["b" * 12, "fp32", "2,000"]
    assert total.startswith("1.6 MB in /")


def test_prune_removes_the_longest_unused_first(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    newer, older = fill("a/bf16", 1000, used=2e9), fill("b/fp32", 1000, used=1e9)
    run("prune", "--gigabytes", "0.0006")
    assert "removed 1 files, 0.5 MB" in capsys.readouterr().out
    assert newer.exists()
    assert not older.exists()
    run("prune", "--gigabytes", "0")
    assert not newer.exists()


def test_prune_leaves_what_params_allow(workspace: Workspace) -> None:
    shard = fill("a/bf16", 1000, used=1e9)
    run("prune")
    assert shard.exists()
    workspace.params("embed", {"cache_gigabytes": 0.0001})
    run("prune")
    assert not shard.exists()


def test_what_a_killed_writer_left_long_ago_is_removed_and_a_fresh_one_is_left_alone(workspace: Workspace) -> None:
    fill("a/bf16", 1, used=2e9)
    old, fresh = (Path(".longtail/embeddings/a/bf16", f".partial-{n}") for n in range(2))
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    run("prune")
    assert not old.exists()
    assert fresh.exists()


def test_an_empty_cache_is_no_error(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run("stats")
    run("prune")
    assert "0.0 MB" in capsys.readouterr().out


def test_a_negative_bound_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="expected 0 or more"):
        run("prune", "--gigabytes", "-1")
