"""Writes `.longtail/downloads/<sha256>/`: a file or zip from an http(s) address, complete and verified, or nothing.

An interrupted download stays beside them as `….partial` and is resumed; a file is renamed to its final path only after
its sha256 is verified, so no reader sees a partial file.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import requests

from pipelines.artifacts import outputs
from pipelines.ingest.sources import http
from pipelines.ingest.sources.archive import unpack
from pipelines.runtime.console import progress, say
from pipelines.workspace import git

ATTEMPTS = 6
TIMEOUT = (10, 60)  # seconds to connect, and between two bytes
RETRIED = (408, 425, 429, 500, 502, 503, 504)


def folder() -> Path:
    return git.state_folder() / "downloads"


def lock(name: str) -> Path:
    return git.state_folder() / "locks" / f"{name}.lock"


def fetch(url: str, sha256: str | None, *, backoff: float = 1.0) -> Path:
    """Fetch an address and return the path: of the file, or of the folder that a zip was unpacked to.

    A file that was fetched before is verified and reused. Without `sha256` it is fetched too, and the error
    contains its sha256. backoff: seconds before the second attempt, doubled for each further one.
    """
    partial = folder() / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{file_name(url)}.partial"
    with git.held(lock(partial.name)):  # two worktrees may fetch the same file
        return obtain(url, sha256, partial, backoff=backoff)


def obtain(url: str, sha256: str | None, partial: Path, *, backoff: float) -> Path:
    name = file_name(url)
    if sha256 is not None and (cached := folder() / sha256 / name).is_file():
        if outputs.sha256(cached) == sha256:
            return unpacked(cached)
        cached.unlink()  # damaged on disk
    partial.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.exists()
    transfer(url, partial, backoff=backoff)
    actual = outputs.sha256(partial)
    if resumed and sha256 not in (None, actual):
        say("ingest", f"the partial download does not match {url} any more; fetching it from the start")
        discard(partial)
        transfer(url, partial, backoff=backoff)
        actual = outputs.sha256(partial)
    if sha256 not in (None, actual):
        discard(partial)
        raise ValueError(
            f"{url} has the sha256 {actual}, but ingest.sha256 is {sha256}; correct it if you trust the file"
        )
    path = publish(partial, folder() / actual / name)
    if sha256 is None:
        raise ValueError(f"ingest.sha256 is missing for {url}; the download has {actual}: set it if you trust the file")
    return unpacked(path)


def unpacked(path: Path) -> Path:
    """Return the folder with the members of a zip file; any other path unchanged."""
    if path.suffix != ".zip" or not path.is_file():
        return path
    sha256 = outputs.sha256(path)
    with git.held(lock(sha256)):
        return unpack(path, folder() / sha256 / "unpacked")


def file_name(url: str) -> str:
    """Return the last part of the address as a plain file name."""
    name = Path(unquote(urlsplit(url).path)).name
    return re.sub(r"[^\w.-]", "_", name).lstrip(".") or "download"


def transfer(url: str, partial: Path, *, backoff: float) -> None:
    """Append the missing bytes to `partial`, in several attempts if the connection breaks."""
    for attempt in range(ATTEMPTS):
        try:
            receive(url, partial)
            return
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            problem = type(error).__name__
            if attempt == ATTEMPTS - 1:
                raise OSError(
                    f"{url} could not be fetched in {ATTEMPTS} attempts ({error}); run again to resume it"
                ) from error
        wait = backoff * 2**attempt
        say("ingest", f"{problem} after {size(partial):,} bytes; attempt {attempt + 2} of {ATTEMPTS} in {wait:g} s")
        time.sleep(wait)


def receive(url: str, partial: Path) -> None:
    """Make one request; continue the file only if the server confirms that it is unchanged."""
    validator = partial.with_suffix(".validator")
    have, known = size(partial), validator.read_text("utf-8") if validator.is_file() else ""
    headers = {"Accept-Encoding": "identity"}
    if have and known:
        headers |= {"Range": f"bytes={have}-", "If-Range": known}
    with http.request("GET", url, headers=headers, timeout=TIMEOUT) as response:
        if response.status_code in RETRIED:
            raise requests.ConnectionError(f"status {response.status_code}")
        if response.status_code == 416:  # no further bytes, or another file by now
            discard(partial)
            raise requests.ConnectionError("the server has no further bytes of the file")
        if not response.ok:
            raise OSError(f"{url} answers {response.status_code} {response.reason}; check ingest.url")
        continued = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if not continued:
            have = 0
            discard(partial)
        # a weak ETag does not guarantee equal bytes, so the download cannot be continued
        etag = response.headers.get("ETag", "W/")
        validator.write_text(response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag, "utf-8")
        length = int(response.headers.get("Content-Length", 0))
        with partial.open("ab" if have else "wb") as file:
            deque(progress("ingest", write(response, file), total=length >> 20, unit="MiB"), maxlen=0)
        if length and size(partial) != have + length:
            raise requests.ConnectionError("the connection ended early")


def write(response: requests.Response, file: BinaryIO) -> Iterator[None]:
    """Write the response in small blocks, since a broken connection loses the current block; yield after each MiB."""
    for n, block in enumerate(response.iter_content(1 << 14), start=1):
        file.write(block)
        if n % 64 == 0:
            yield


def publish(partial: Path, final: Path) -> Path:
    """Move a verified download to its final path."""
    final.parent.mkdir(parents=True, exist_ok=True)
    outputs.sync(partial)
    partial.replace(final)
    outputs.sync(final.parent)
    partial.with_suffix(".validator").unlink(missing_ok=True)
    return final


def discard(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    partial.with_suffix(".validator").unlink(missing_ok=True)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
