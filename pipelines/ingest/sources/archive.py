"""Unpack a zip file into a folder that appears complete, and nowhere outside it."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections import Counter
from pathlib import Path, PurePosixPath

from pipelines.artifacts import outputs
from pipelines.ingest.formats import unpacked_size
from pipelines.runtime.console import progress

MOST = 200_000  # limit on the members of an archive


def unpack(path: Path, folder: Path) -> Path:
    """Unpack to `folder`, or reuse it if every member is there unchanged; raises ValueError for a bad archive."""
    new = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(new, ignore_errors=True)  # left by a killed run
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if not members:
                raise ValueError(f"{path} contains no files; check the program that wrote it")
            check_size(members, path, folder)
            for member in members:
                check(member, path)
            check_names(members, path)
            if not all(is_intact(folder / member.filename, member) for member in members):
                for member in progress("ingest", members, total=len(members), unit="files unpacked"):
                    archive.extract(member, new)
                outputs.replace_folder(new, folder)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}); fetch it again, or unpack it by hand") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def check_size(members: list[zipfile.ZipInfo], path: Path, folder: Path) -> None:
    """Refuse an archive with too many members or bytes; no member unpacks to more than its declared size."""
    if len(members) > MOST:
        raise ValueError(f"{path} contains {len(members):,} files, expected at most {MOST:,}; unpack it by hand")
    size, allowed = sum(member.file_size for member in members), unpacked_size.limit(path, folder)
    if size > allowed:
        raise unpacked_size.refuse(path, size, allowed, at_least=False)


def check_names(members: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse an archive with a member that would overwrite another, or that is also the folder of another."""
    names = Counter(PurePosixPath(member.filename) for member in members)
    for name, n in names.items():
        if n > 1 or any(parent in names for parent in name.parents):
            raise ValueError(f"{path} contains {str(name)!r} more than once, or in a file; do not trust this archive")


def check(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse a member that would be written outside the folder, or is not a regular file."""
    name = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or "\\" in member.filename or ":" in name.parts[0]:
        raise ValueError(
            f"{path} contains {member.filename!r}, which points outside the folder; do not trust this archive"
        )
    if kind not in (0, stat.S_IFREG):
        raise ValueError(
            f"{path} contains {member.filename!r}, which is not a regular file; unpack it by hand if you trust it"
        )


def is_intact(file: Path, member: zipfile.ZipInfo) -> bool:
    if not file.is_file() or file.stat().st_size != member.file_size:
        return False
    checksum = 0
    with file.open("rb") as blocks:
        while block := blocks.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum == member.CRC
