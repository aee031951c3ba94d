"""Archives that unpack to more than the limit are refused before the disk is full, with file, size and remedy."""

from __future__ import annotations

import gzip
import stat
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.ingest.formats import delimited, unpacked_size
from pipelines.ingest.formats.records import Dialect
from pipelines.ingest.sources.archive import unpack

MEGABYTE = bytes(1 << 20)
REFUSED = "bytes, the limit is .* environment variable LONGTAIL_MAX_UNPACKED"


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of a megabyte for whatever is tiny."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(unpacked_size.VARIABLE, raising=False)
    monkeypatch.setattr(unpacked_size, "ALWAYS", 1 << 20)


def zipped(**members: bytes) -> Path:
    path = Path("data.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def packed(kind: str, content: bytes) -> Path:
    path = Path(f"events.csv.{kind}")
    if kind == "gz":
        path.write_bytes(gzip.compress(content))
    else:
        path.write_bytes(pa.Codec("zstd").compress(content, asbytes=True))
    return path


def test_a_zip_of_zeros_is_refused_and_nothing_is_written() -> None:
    path = zipped(a=MEGABYTE * 8, b=MEGABYTE * 8)
    with pytest.raises(ValueError, match=rf"data\.zip .* unpacks to 16,777,216 {REFUSED}"):
        unpack(path, Path("unpacked"))
    assert [found.name for found in Path().iterdir()] == ["data.zip"]


def test_what_compresses_as_tables_do_is_unpacked() -> None:
    rows = "".join(f"u{n * 7919 % 10007},i{n * 31 % 997},1\n" for n in range(200_000)).encode()
    assert len(rows) > 2 << 20
    assert (unpack(zipped(a=rows), Path("unpacked")) / "a").read_bytes() == rows


def test_the_variable_raises_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(unpacked_size.VARIABLE, "20MB")
    assert (unpack(zipped(a=MEGABYTE * 16), Path("unpacked")) / "a").stat().st_size == 16 << 20
    monkeypatch.setenv(unpacked_size.VARIABLE, "much")
    with pytest.raises(ValueError, match="LONGTAIL_MAX_UNPACKED is 'much', expected a size such as 500GB"):
        unpack(zipped(a=b"x"), Path("more"))


def test_the_free_disk_is_a_limit_that_no_variable_lifts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(unpacked_size.VARIABLE, "500GB")
    monkeypatch.setattr(
        "pipelines.ingest.formats.unpacked_size.shutil.disk_usage", lambda path: type("Usage", (), {"free": 4 << 20})
    )
    with pytest.raises(ValueError, match=REFUSED):
        unpack(zipped(a=MEGABYTE * 16), Path("unpacked"))


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_packed_table_that_grows_beyond_the_limit_is_refused(kind: str) -> None:
    path = packed(kind, b"user,item\n" + b"a,b\n" * (16 << 20))
    Path("scratch").mkdir()
    with pytest.raises(ValueError, match=rf"events\.csv\.{kind} .* unpacks to at least [\d,]+ {REFUSED}"):
        delimited.open_text(path, Dialect(",", '"'), names=None, scratch=Path("scratch"))
    assert list(Path("scratch").iterdir()) == []


def test_a_zip_that_declares_less_than_it_holds_writes_no_more_than_that() -> None:
    """The size in both headers is forged: 1,000 bytes instead of 16 MB."""
    path = zipped(a=MEGABYTE * 16)
    real, forged = (16 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(real, forged))
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpack(path, Path("unpacked"))
    assert not Path("unpacked").exists()


def test_members_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.ingest.sources.archive.MOST", 10)
    with pytest.raises(ValueError, match="contains 11 files, expected at most 10"):
        unpack(zipped(**{f"m{n}": b"" for n in range(11)}), Path("unpacked"))


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "c:/x", "a\\..\\x"])
def test_a_member_outside_the_folder_is_refused(name: str) -> None:
    with zipfile.ZipFile("data.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(ValueError, match="points outside the folder"):
        unpack(Path("data.zip"), Path("unpacked"))


def test_a_link_is_refused() -> None:
    with zipfile.ZipFile("data.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match="not a regular file"):
        unpack(Path("data.zip"), Path("unpacked"))


def test_a_member_that_is_another_ones_folder_is_refused() -> None:
    with pytest.raises(ValueError, match="more than once, or in a file"):
        unpack(zipped(a=b"x", a__b=b"y"), Path("unpacked"))
