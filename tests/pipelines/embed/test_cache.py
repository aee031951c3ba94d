from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.embed import cache as embedding_cache
from pipelines.embed import shards
from pipelines.embed.shards import Halves, Keys

FOLDER = Path("cache")
Written = dict[tuple[int, int], int]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def keys(*pairs: tuple[int, int]) -> Keys:
    return np.array(pairs, np.uint64).reshape(-1, 2)


def vectors(*values: float) -> Halves:
    return np.repeat(np.array(values, np.float16)[:, None], 6, axis=1)


def look_up(wanted: Keys, *folders: Path) -> list[float | None]:
    cache = embedding_cache.EmbeddingCache(folders or [FOLDER], 6)
    rows = cache.find(wanted)
    found, intact = cache.read(rows[rows >= 0])
    assert intact.all()
    values = iter(found[:, 0].tolist())
    return [next(values) if row >= 0 else None for row in rows]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12, unique=True), st.integers(1, 4))
def test_keys_are_told_apart_by_all_their_bits(
    tmp_path_factory: pytest.TempPathFactory, known: list[tuple[int, int]], parts: int
) -> None:
    """Against a dictionary; with few different halves, which in real keys never agree."""
    folder = tmp_path_factory.mktemp("cache")
    for part in range(parts):
        if mine := known[part::parts]:
            embedding_cache.add(folder, keys(*mine), vectors(*(10 * high + low for high, low in mine)))
    every = [(high, low) for high in range(5) for low in range(5)]
    expected = [float(10 * high + low) if (high, low) in known else None for high, low in every]
    assert look_up(keys(*every), folder) == expected


def test_the_first_folder_leads() -> None:
    embedding_cache.add(Path("first"), keys((1, 1)), vectors(1))
    embedding_cache.add(Path("second"), keys((1, 1), (2, 2)), vectors(3, 4))
    assert look_up(keys((1, 1), (2, 2)), Path("first"), Path("second")) == [1, 4]


def test_a_folder_that_is_not_there_knows_nothing() -> None:
    assert look_up(keys((1, 2)), Path("nowhere")) == [None]
    assert look_up(keys()) == []


def test_many_small_shards_become_one_without_their_damaged_rows() -> None:
    for n in range(embedding_cache.MANY):
        embedding_cache.add(FOLDER, keys((n, 0), (100 + n, 0)), vectors(n, n))
    spoilt = shards.write(FOLDER, keys((50, 0), (51, 0)), vectors(50, 51))
    content = bytearray(spoilt.read_bytes())
    content[-1] ^= 0x40  # the last component of the second row
    spoilt.write_bytes(content)
    embedding_cache.merge(FOLDER, 6)
    assert len(list(FOLDER.glob("*.safetensors"))) == 1
    assert look_up(keys((3, 0), (103, 0), (50, 0), (51, 0))) == [3, 3, 50, None]


def test_few_shards_and_full_ones_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "FULL", 2)
    for n in range(embedding_cache.MANY):
        embedding_cache.add(FOLDER, keys((n, 0), (100 + n, 0)), vectors(n, n))
    before = sorted(FOLDER.glob("*.safetensors"))
    embedding_cache.merge(FOLDER, 6)
    assert sorted(FOLDER.glob("*.safetensors")) == before


def test_only_one_process_merges() -> None:
    for n in range(embedding_cache.MANY):
        embedding_cache.add(FOLDER, keys((n, 0)), vectors(n))
    with embedding_cache.alone(FOLDER) as granted:
        assert granted
        embedding_cache.merge(FOLDER, 6)
        assert len(list(FOLDER.glob("*.safetensors"))) == embedding_cache.MANY
    embedding_cache.merge(FOLDER, 6)
    assert len(list(FOLDER.glob("*.safetensors"))) == 1


@given(st.integers(0, 8 * 72 - 1))
def test_every_flipped_bit_of_a_row_is_noticed(bit: int) -> None:
    of_text, vector = keys((3, 4)), np.arange(28, dtype=np.float16)[None]
    row = bytearray(of_text.tobytes() + vector.tobytes())
    row[bit // 8] ^= 1 << bit % 8
    changed_key = np.frombuffer(bytes(row[:16]), np.uint64)[None]
    changed = np.frombuffer(bytes(row[16:]), np.float16)[None]
    assert shards.check_sums(changed_key, changed) != shards.check_sums(of_text, vector)


def test_a_row_of_zeros_where_the_disk_lost_a_page_is_noticed() -> None:
    assert shards.check_sums(keys((0, 0)), vectors(0)) != 0


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_what_is_no_whole_shard_is_named_and_not_read(cut: int) -> None:
    path = shards.write(FOLDER, keys((1, 1)), vectors(1))
    path.write_bytes(path.read_bytes()[:cut])
    assert embedding_cache.EmbeddingCache([FOLDER], 6).damaged == [path]


def test_vectors_of_another_length_are_no_shard_of_this_encoder() -> None:
    path = shards.write(FOLDER, keys((1, 1)), vectors(1))
    assert embedding_cache.EmbeddingCache([FOLDER], 7).damaged == [path]


def test_a_cache_that_is_open_can_be_read_while_its_files_are_merged_away() -> None:
    for n in range(embedding_cache.MANY):
        embedding_cache.add(FOLDER, keys((n, 0)), vectors(n))
    cache = embedding_cache.EmbeddingCache([FOLDER], 6)
    embedding_cache.merge(FOLDER, 6)
    found, intact = cache.read(cache.find(keys((5, 0))))
    assert intact.all()
    assert found[0, 0] == 5


def test_texts_that_no_encoding_takes_have_keys_of_their_own() -> None:
    assert len({embedding_cache.key(text) for text in ("", "a", "a ", "\ud800", "\udfff", "é", "e\u0301")}) == 7
