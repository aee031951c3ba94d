"""Forgetting a user: nothing that the project wrote names the user any more, and nobody else is lost."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dvc.repo import Repo
from safetensors.numpy import save

from bento.feedback.store import Events
from models.inference.feedback_event import Event
from models.inference.strings import arrays_of
from pipelines.feedback import store as feedback_store
from pipelines.forget import forget, source_rows
from pipelines.forget.search import Traces
from pipelines.ingest.formats import known
from pipelines.ingest.formats.format import File, Opened, Search
from pipelines.ingest.formats.records import Dialect
from tests.clones import Clone
from tests.pipelines.releases import Checkout, commit, git
from tests.pipelines.served_versions import assign, register

CSV = Dialect(",", '"')


def source(path: Path) -> source_rows.Source:
    return source_rows.Source(File(path, path.name, CSV), "user")


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
    assert source_rows.rewrite(source(path), "u1", dry=True)
    assert path.read_bytes() == before
    assert source_rows.rewrite(source(path), "u1", dry=False)
    left = gzip.decompress(path.read_bytes()) if name.endswith(".gz") else path.read_bytes()
    assert left.decode() == "\n".join(LEFT) + "\n"
    assert not source_rows.rewrite(source(path), "u1", dry=True)
    assert [found.name for found in tmp_path.iterdir()] == [name]


def test_rows_of_the_user_alone_leave_a_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"user": [1, 11, None, 1], "item": ["a", "1", "c", "d"]}), path)
    assert source_rows.rewrite(source(path), "1", dry=False)
    assert pq.read_table(path).to_pylist() == [{"user": 11, "item": "1"}, {"user": None, "item": "c"}]


class Sealed:
    """A format of binary files that cannot be written again."""

    SUFFIXES: tuple[str, ...] = (".sealed",)
    SEARCHES: tuple[Search, ...] = (Search(b"SEALED", lambda words, columns, file: b"u1" in file.read()),)

    def open_file(self, con: duckdb.DuckDBPyConnection, file: File, scratch: Path) -> Opened:
        raise NotImplementedError

    def without_user(self, file: File, column: str, user_id: str, target: Path) -> bool:
        if user_id.encode() in file.path.read_bytes():
            raise ValueError(f"{file.path} names {user_id} and cannot be rewritten; seal it without the user")
        return False


def test_a_format_that_cannot_be_rewritten_stops_the_search_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "FORMATS", (*known.FORMATS, Sealed()))
    path = tmp_path / "events.sealed"
    path.write_bytes(b"SEALED\xff u1")
    for dry in (True, False):
        with pytest.raises(ValueError, match="cannot be rewritten; seal it without the user"):
            source_rows.rewrite(source(path), "u1", dry=dry)
    assert not source_rows.rewrite(source(path), "u2", dry=False)
    assert path.read_bytes() == b"SEALED\xff u1"
    assert [found.name for found in tmp_path.iterdir()] == ["events.sealed"]


@pytest.mark.parametrize("container", [0, 1, 2])
def test_a_binary_format_is_searched_in_its_own_way(container: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"SEALED\xff u1"
    data = [content, *archive("events", content)][container]
    assert not Traces(["u1"]).in_file("any", io.BytesIO(data))
    monkeypatch.setattr(known, "FORMATS", (*known.FORMATS, Sealed()))
    assert Traces(["u1"]).in_file("any", io.BytesIO(data))


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
        ("a.safetensors", save(arrays_of("user_id", ["u0", "u1", "u2"])), True),
        ("a.safetensors", save(arrays_of("user_id", ["xu1", "u", "1", "u12"])), False),  # their bytes touch each other
        ("a.safetensors", save(arrays_of("item_id", ["u1"])), False),
    ],
)
def test_a_user_is_found_by_name_in_whatever_a_stage_writes(
    container: int, name: str, content: bytes, holds: bool
) -> None:
    data = [content, *archive(name, content)][container]
    assert Traces(["u1"]).in_file(name, io.BytesIO(data)) == holds


@pytest.mark.parametrize("packed", [bytes, lzma.compress], ids=["plain", "xz of early releases"])
def test_of_a_bento_what_is_packed_is_looked_into_and_its_code_is_not(packed: Callable[[bytes], bytes]) -> None:
    def bento(name: str) -> io.BytesIO:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path in ("./bento.yaml", name):
                member = tarfile.TarInfo(path)
                member.size = 2
                tar.addfile(member, io.BytesIO(b"u1"))
        buffer.seek(0)
        return io.BytesIO(packed(buffer.read()))

    assert Traces(["u1"]).in_file("longtail.tar", bento("./src/packed/any.json"))
    assert not Traces(["u1"]).in_file("longtail.tar", bento("./src/bento/page.js"))


@pytest.mark.parametrize(("packing", "text", "holds"), [
    ("gzip", b"user,item\nu1,a\n", True), ("zstd", b"user,item\nu1,a\n", True),
    ("gzip", b"user,item\nu11,a\n", False), ("zstd", b"user,item\nu11,a\n", False),
])  # fmt: skip
def test_a_user_is_found_in_packed_text(packing: Literal["gzip", "zstd"], text: bytes, holds: bool) -> None:
    data = pa.compress(text, packing, asbytes=True) if packing == "zstd" else gzip.compress(text)
    assert Traces(["u1"]).in_file("9f86d0", io.BytesIO(data)) == holds
    assert not Traces(["u1"]).in_file("9f86d0", io.BytesIO(data[: len(data) // 2]))


def test_a_user_is_found_in_the_columns_that_the_settings_name() -> None:
    data = parquet(customer=["u1"], note=["u2"])
    assert Traces(["u1"], ["customer"]).in_file("a.parquet", io.BytesIO(data))
    assert not Traces(["u2"], ["customer"]).in_file("a.parquet", io.BytesIO(data))


def test_deleted_events_leave_no_bytes_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.sqlite"
    monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", f"sqlite:///{path}")
    store = Events()
    store.add([Event(f"e{n}", f"reader-{n % 3}", f"i{n}", "click") for n in range(30)])
    assert any(names(file, "reader-1") for file in tmp_path.iterdir())
    feedback_store.remove("reader-1")
    assert feedback_store.count("reader-1") == 0
    assert not any(names(file, "reader-1") for file in tmp_path.iterdir())
    assert feedback_store.count("reader-2") == 10


@pytest.fixture
def released(packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, the current folder, of v1 and v2, of which v2 serves; its Bento is in DVC's cache and in a store."""
    root, home = tmp_path / "checkout", tmp_path / "bentoml"
    root.mkdir()
    for scope in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{scope}", os.devnull)
    monkeypatch.setenv("BENTOML_HOME", str(home))
    monkeypatch.chdir(root)
    Checkout.create(root)
    shutil.copytree(packaged, root / "data" / "package")
    Path("dvc.yaml").write_text("stages: {package: {cmd: exit 1, outs: [data/package]}}\n")
    with Repo() as repo:
        repo.commit(target="package", force=True)
    git(root, "add", "dvc.lock")
    commit(root, "a run")
    register("v1.0.0", packaged)
    tag = register("v2.0.0", packaged)
    assign("v2.0.0")
    stored = home / "bentos" / tag.replace(":", "/")
    with tarfile.open(packaged / "longtail.tar") as archive:
        archive.extractall(stored, filter="data")
    return root


@pytest.mark.slow
def test_what_serves_stays_until_another_version_does_and_is_named(released: Path) -> None:
    places = [released / name for name in ("data", ".dvc", ".longtail")] + [released.parent / "bentoml"]
    user = "0007"
    assert len(holders(user, *places)) == 5  # output, cache, both archives kept, store
    found = forget.search(user)
    lines = list(found.lines())
    assert any(line.startswith("bento: version v1.0.0 (") and "rolling back" in line for line in lines)
    assert "not deleted: v2.0.0, which serves: version v2.0.0, Bento longtail:" in lines[-1]
    assert "objects of DVC's cache; `longtail run` trains" in lines[-1]
    forget.remove(user, found)
    left = {path.relative_to(released.parent) for path in holders(user, *places)}
    archive = Path("checkout/.longtail/releases/v2.0.0/longtail.tar")
    cached = {path for path in left if path.parts[:2] == ("checkout", ".dvc")}
    stored = {path for path in left if path.parts[0] == "bentoml"}
    assert left == {archive} | cached | stored
    assert [path.name for path in stored] == ["users.safetensors"]
    assert len(cached) == 1
    assert list(forget.search(user).lines()) == lines[-1:]

    found = forget.search(user, serving=True)
    forget.remove(user, found)
    assert holders(user, *places) == []
    assert list(forget.search(user).lines()) == []


@pytest.mark.slow
def test_after_forgetting_there_are_zero_hits(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "longtail")
    raw = clone.root / "data" / "raw"
    lines = [f"reader-{u},i{(u * k) % 60},1" for u in range(80) for k in range(1, 9)]
    (raw / "interactions.csv").write_text("user,item,value\n" + "\n".join([*lines, "reader-7,i1,none"]) + "\n")
    (raw / "users.csv").write_text("customer,city\n" + "".join(f"reader-{u},Rome\n" for u in range(90)))
    columns = {"user_id": "user", "item_id": "item", "value": "value", "timestamp": None}
    clone.params(
        {"ingest": {"source": "table", "table.columns": columns, "table.users": ["users.csv"],
                    "table.user_columns": {"user_id": "customer"}},
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
    assert "data/raw/users.csv" in shown
    assert "nothing is deleted yet" in shown
    assert "reader-7," in (raw / "interactions.csv").read_text()
    assert "removed" in clone.longtail("forget", "reader-7", "--yes")
    assert "nothing else mentions this user" in clone.longtail("forget", "reader-7")
    clone.dvc("repro", "split")
    clone.dvc("push")

    assert clone.json("data/split/holdout.json")["n_users"] == n_users - 1
    assert holders("reader-7", *(clone.root / name for name in ("data", ".dvc", ".longtail")), remote) == []
    assert "reader-70" in (raw / "interactions.csv").read_text()
    shutil.rmtree(remote)


def names(path: Path, user_id: str) -> bool:
    """Slow twin: every value of every table, and every byte of the rest, in archives as well."""
    data = path.read_bytes()
    if data.startswith(b"\xfd7zXZ"):
        with tarfile.open(path) as archive:
            files = [archive.extractfile(member) for member in archive if member.isfile()]
            data = b"\0".join(file.read() for file in files if file)
    if data.startswith(b"PAR1"):
        data = json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
    # a digit or hex letter after it: part of another id or of a digest
    return any(data[at + len(user_id)] not in b"0123456789abcdef" for at in find(data + b" ", user_id.encode()))


def holders(user_id: str, *folders: Path) -> list[Path]:
    """Files below that name a user."""
    files = (path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())
    return [path for path in files if names(path, user_id)]


def find(data: bytes, part: bytes) -> list[int]:
    places, at = [], data.find(part)
    while at >= 0:
        places.append(at)
        at = data.find(part, at + 1)
    return places
