"""Downloads against a real server on loopback that breaks off, resumes, refuses and changes its file."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.artifacts import outputs, tables
from pipelines.ingest import stage as ingest
from pipelines.ingest.sources import download
from tests.conftest import Workspace

DATA = bytes(range(256)) * 20_000  # 5 MB
SHA = hashlib.sha256(DATA).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `data` under any path; what it does wrong can be set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = DATA
        self.breaks: list[int] = []  # after how many bytes the next answers break off
        self.statuses: list[int] = []  # of the next answers, before a good one
        self.ranges = True  # whether it knows Range
        self.validates = True  # whether it sends an ETag and heeds If-Range
        self.asked: list[str | None] = []  # the Range header of each request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data/events.bin"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        etag = f'"{hashlib.sha256(server.data).hexdigest()}"'
        start = 0
        if wanted and server.ranges and (not server.validates or self.headers.get("If-Range") == etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.data):
                self.send_error(416)
                return
        body = server.data[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        if server.validates:
            self.send_header("ETag", etag)
        else:
            self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.end_headers()
        end = server.breaks.pop(0) if server.breaks else len(body)
        self.wfile.write(body[:end])
        if end < len(body):
            self.wfile.flush()
            self.connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  named by the base class
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server: Server, sha256: str | None = SHA) -> Path:
    return download.fetch(server.url, sha256, backoff=0.01)


def left_over() -> list[str]:
    return [path.name for path in download.folder().rglob("*.partial")]


def test_a_file_is_fetched_once_and_verified_when_it_is_used_again(server: Server) -> None:
    path = fetch(server)
    assert path == download.folder() / SHA / "events.bin"
    assert path.read_bytes() == DATA
    assert fetch(server) == path
    assert len(server.asked) == 1
    path.write_bytes(DATA[:-1] + b"\0")  # a byte that changed on disk
    assert fetch(server).read_bytes() == DATA
    assert len(server.asked) == 2
    assert left_over() == []


def test_a_broken_connection_is_resumed_where_it_broke(server: Server) -> None:
    server.breaks = [3_000_000, 1_000_000]
    assert fetch(server).read_bytes() == DATA
    assert server.asked[0] is None
    offsets = [int(re.sub(r"\D", "", asked or "")) for asked in server.asked[1:]]
    assert len(offsets) == 2
    assert 0 < offsets[0] < offsets[1] < len(DATA)


def test_the_next_run_resumes_what_an_earlier_one_left(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.breaks = [3_000_000]
    with pytest.raises(OSError, match="run again to resume"):
        fetch(server)
    assert len(left_over()) == 1
    assert not (download.folder() / SHA).exists()
    assert fetch(server).read_bytes() == DATA
    assert server.asked[1] is not None


def test_a_server_without_ranges_starts_again(server: Server) -> None:
    server.ranges, server.breaks = False, [3_000_000]
    assert fetch(server).read_bytes() == DATA


def test_a_file_that_changed_in_between_is_fetched_from_the_start(server: Server) -> None:
    server.breaks = [3_000_000]
    old, server.data = server.data, b"new" * 1_000_000
    server.data, new = old, server.data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "ATTEMPTS", 1)
        with pytest.raises(OSError, match="could not be fetched"):
            fetch(server)
    server.data = new
    assert fetch(server, hashlib.sha256(new).hexdigest()).read_bytes() == new


def test_a_mixture_of_two_versions_is_noticed_and_fetched_anew(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.validates, server.breaks = False, [3_000_000]  # it continues with whatever it has now
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with pytest.raises(OSError, match="could not be fetched"):
        fetch(server)
    server.data = bytes(reversed(DATA))
    sha256 = hashlib.sha256(server.data).hexdigest()
    assert fetch(server, sha256).read_bytes() == server.data
    assert server.asked[1:] == [server.asked[1], None]


def test_a_shorter_file_than_what_is_here_is_fetched_from_the_start(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.validates, server.breaks = False, [3_000_000]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "ATTEMPTS", 1)
        with pytest.raises(OSError, match="could not be fetched"):
            fetch(server)
    server.data = b"short"
    assert fetch(server, hashlib.sha256(b"short").hexdigest()).read_bytes() == b"short"


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.statuses = [503, 429, 500]
    assert fetch(server).read_bytes() == DATA


def test_a_missing_file_is_not_asked_for_again(server: Server) -> None:
    server.statuses = [404]
    with pytest.raises(OSError, match=r"answers 404 .*check ingest\.url"):
        fetch(server)
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Server() as gone:
        url = gone.url
    with pytest.raises(OSError, match="could not be fetched in 6 attempts"):
        download.fetch(url, SHA, backoff=0.001)


def test_without_sha256_the_error_says_which_it_is(server: Server) -> None:
    with pytest.raises(ValueError, match=f"sha256 is missing .* has {SHA}"):
        fetch(server, None)
    assert fetch(server).read_bytes() == DATA
    assert len(server.asked) == 1  # what was downloaded is not fetched again once it is trusted


def test_another_sha256_is_refused_and_nothing_stays(server: Server) -> None:
    wrong = "0" * 64
    with pytest.raises(ValueError, match=f"has the sha256 {SHA}, but ingest.sha256 is {wrong}"):
        fetch(server, wrong)
    assert [path for path in download.folder().rglob("*") if path.is_file()] == []


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def unpacked(data: bytes) -> Path:
    path = Path("a.zip")
    path.write_bytes(data)
    return download.unpacked(path)


def test_a_zip_becomes_a_folder_whose_damage_is_repaired(server: Server) -> None:
    data = zipped(("a/one.csv", b"1"), ("two.csv", b"22"))
    folder = unpacked(data)
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.csv")} == {
        "a/one.csv": b"1", "two.csv": b"22",
    }  # fmt: skip
    (folder / "two.csv").write_bytes(b"23")
    assert (unpacked(data) / "two.csv").read_bytes() == b"22"


def test_an_unpacked_zip_is_not_unpacked_again(server: Server) -> None:
    data = zipped(("one.csv", b"1"))  # once: an archive made a moment later holds another time
    before = (unpacked(data) / "one.csv").stat().st_ino
    assert (unpacked(data) / "one.csv").stat().st_ino == before


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv", "C:/evil.csv", "..\\evil.csv"])
def test_a_zip_that_points_outside_its_folder_is_refused(server: Server, name: str) -> None:
    with pytest.raises(ValueError, match="points outside the folder"):
        unpacked(zipped(("good.csv", b"1"), (name, b"2")))
    assert list(Path.cwd().rglob("*.csv")) == []
    assert not (Path.cwd().parent / "evil.csv").exists()


def test_a_link_in_a_zip_is_refused(server: Server) -> None:
    with pytest.raises(ValueError, match="not a regular file"):
        unpacked(zipped((link("passwd.csv"), b"/etc/passwd")))


@pytest.mark.parametrize("data", [b"no zip at all", zipped(("one.csv", b"1" * 5000))[:-30], zipped()])
def test_a_zip_that_cannot_be_unpacked_is_refused(server: Server, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"a\.zip (cannot be unpacked|contains no files)"):
        unpacked(data)


def test_a_damaged_member_of_a_zip_is_refused(server: Server) -> None:
    data = bytearray(zipped(("one.csv", bytes(range(256)) * 100)))
    data[60] ^= 0xFF
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpacked(bytes(data))
    assert not list(download.folder().rglob("one.csv"))


def test_the_stage_reads_a_table_from_an_address(server: Server) -> None:
    workspace = Workspace(Path.cwd())
    server.data = zipped(("shop/interactions.csv", b"user_id,item_id\nu,i\n"))
    url = server.url.replace("events.bin", "shop.zip")
    sha256 = hashlib.sha256(server.data).hexdigest()
    changes = {"source": "table", "url": url, "sha256": sha256, "table.interactions": ["shop/*.csv"]}
    workspace.params("ingest", changes)
    ingest.main()
    assert tables.read(Path("data/ingest/interactions.parquet")).num_rows == 1
    (read,) = outputs.read_manifest(Path("data/ingest"))["inputs"]
    assert read.endswith("shop/interactions.csv")
