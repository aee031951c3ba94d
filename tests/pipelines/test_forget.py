"""Forgetting a user: nothing that the project wrote names the user any more, and nobody else is lost."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import _forget
from pipelines._records import Dialect
from pipelines._traces import Traces
from tests.clones import Clone

CSV = Dialect(",", '"')


def source(path: Path) -> _forget.Source:
    return _forget.Source(path, CSV, "user")


LINES = [
    "item,user,note", "i1,u1,a", 'i2,"u1","a, b"', "i3,u11,u1", "i4,u2,x", 'i5,u2,"over\ntwo lines"', "i6,u1", "i7,u12",
]  # fmt: skip
LEFT = ["item,user,note", "i3,u11,u1", "i4,u2,x", 'i5,u2,"over\ntwo lines"', "i7,u12"]


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz"])
def test_rows_of_the_user_alone_leave_a_text_file(tmp_path: Path, name: str) -> None:
    text = ("\n".join(LINES) + "\n").encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    before = path.read_bytes()
    assert _forget.rewrite(source(path), "u1", dry=True)
    assert path.read_bytes() == before
    assert _forget.rewrite(source(path), "u1", dry=False)
    left = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    assert left.decode() == "\n".join(LEFT) + "\n"
    assert not _forget.rewrite(source(path), "u1", dry=True)
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_rows_of_the_user_alone_leave_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"user": [1, 11, None, 1], "item": ["a", "1", "c", "d"]}), path)
    assert _forget.rewrite(source(path), "1", dry=False)
    assert pq.read_table(path).to_pylist() == [{"user": 11, "item": "1"}, {"user": None, "item": "c"}]


def parquet(**columns: list[str]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def archive(name: str, content: bytes) -> tuple[bytes, bytes]:
    """The content as the one file of a zip and of a tar."""
    zipped, tarred = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr(name, content)
    with tarfile.open(fileobj=tarred, mode="w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return zipped.getvalue(), tarred.getvalue()


@pytest.mark.parametrize("container", [0, 1, 2])
@pytest.mark.parametrize(
    ("name", "content", "holds"),
    [
        ("a.parquet", parquet(user_id=["u1", "u2"]), True),
        ("a.parquet", parquet(user_id=["u11", "u2"]), False),
        ("a.parquet", parquet(raw=["i,u1,4"]), True),
        ("a.parquet", parquet(title=["u1"]), False),
        ("a.json", json.dumps(["u2", "u1"]).encode(), True),
        ("a.json", json.dumps({"u1": 3}).encode(), True),
        ("a.json", json.dumps({"n": 1, "of": "u11"}).encode(), False),
        ("a.html", b"<td>u1</td>", True),
        ("a.html", b"<td>u1-2</td>", False),
        ("a.bin", b"\xff\x00u1", False),
    ],
)
def test_a_user_is_found_by_name_in_whatever_a_stage_writes(
    container: int, name: str, content: bytes, holds: bool
) -> None:
    data = [content, *archive(name, content)][container]
    assert Traces(["u1"]).in_file(name, io.BytesIO(data)) == holds


@pytest.mark.slow
def test_after_forgetting_there_are_zero_hits(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "longtail")
    raw = clone.root / "data" / "raw"
    lines = [f"reader-{u},i{(u * k) % 60},1" for u in range(80) for k in range(1, 9)]
    (raw / "interactions.csv").write_text("user,item,value\n" + "\n".join([*lines, "reader-7,i1,none"]) + "\n")
    columns = {"user_id": "user", "item_id": "item", "value": "value", "timestamp": None}
    clone.params(
        {"ingest": {"source": "table", "table.columns": columns},
         "validate": {"min_interactions": 100, "max_empty_text": 1.0, "min_items": 40}},
    )  # fmt: skip
    remote = tmp_path / "remote"
    clone.dvc("remote", "add", "-d", "here", str(remote))
    clone.dvc("repro", "split")
    clone.git("add", "-A", "-f", "dvc.lock")
    clone.commit("a run")
    clone.dvc("push")
    n_users = clone.json("data/split/holdout.json")["n_users"]

    shown = clone.longtail("forget", "reader-7")
    assert "data/raw/interactions.csv" in shown
    assert "nothing is removed yet" in shown
    assert "reader-7," in (raw / "interactions.csv").read_text()
    assert "removed" in clone.longtail("forget", "reader-7", "--yes")
    assert "nothing else names this user" in clone.longtail("forget", "reader-7")
    clone.dvc("repro", "split")
    clone.dvc("push")

    assert clone.json("data/split/holdout.json")["n_users"] == n_users - 1
    for folder in (clone.root / "data", clone.root / ".dvc", clone.root / ".longtail", remote):
        hits = [path for path in folder.rglob("*") if path.is_file() and names(path, "reader-7")]
        assert hits == []
    assert "reader-70" in (raw / "interactions.csv").read_text()
    shutil.rmtree(remote)


def names(path: Path, user_id: str) -> bool:
    """Slow twin: every value of every table, and every byte of the rest."""
    data = path.read_bytes()
    if data.startswith(b"PAR1"):
        data = json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
    return any(data[at + len(user_id)] not in b"0123456789" for at in find(data + b" ", user_id.encode()))


def find(data: bytes, part: bytes) -> list[int]:
    places, at = [], data.find(part)
    while at >= 0:
        places.append(at)
        at = data.find(part, at + 1)
    return places
