"""Unpacks a zip file into a folder that appears whole, and nowhere outside it."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pipelines import _artifacts as artifacts
from pipelines._stage import progress


def unpack(path: Path, folder: Path) -> Path:
    """Unpack to `folder`, or use it as it is where every member is there unchanged; ValueError for a bad archive."""
    new = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(new, ignore_errors=True)  # what a killed run left
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if not members:
                raise ValueError(f"{path} holds no files; check what wrote it")
            for member in members:
                check(member, path)
            if not all(is_intact(folder / member.filename, member) for member in members):
                for member in progress("ingest", members, total=len(members), unit="files unpacked"):
                    archive.extract(member, new)
                artifacts.replace_folder(new, folder)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}); fetch it again, or unpack it yourself") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def check(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse a member that would land outside the folder, or be something other than a plain file."""
    name = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in name.parts[0]:
        raise ValueError(
            f"{path} holds {member.filename!r}, which points outside the folder; do not trust this archive"
        )
    if kind not in (0, stat.S_IFREG):
        raise ValueError(
            f"{path} holds {member.filename!r}, which is no plain file; unpack it yourself if you trust it"
        )


def is_intact(file: Path, member: zipfile.ZipInfo) -> bool:
    if not file.is_file() or file.stat().st_size != member.file_size:
        return False
    checksum = 0
    with file.open("rb") as blocks:
        while block := blocks.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum == member.CRC
