"""Bentos: built and exported in temporary stores, imported into the user's store, and served from it.

The exported archive is the artifact; a BentoML store is a cache of it. Every step is a separate `bentoml` process,
because BentoML reads its store's path from the environment once per process.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts import outputs
from pipelines.privacy import modes

BENTOML = [sys.executable, "-m", "bentoml"]
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")  # variables passed on; PYTHONPATH would shadow the Bento


def environment(home: Path) -> dict[str, str]:
    """Return the environment of an isolated `bentoml` process: store and settings are in `home`."""
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    private = dict.fromkeys(("HOME", "BENTOML_HOME", "TMPDIR"), str(home))
    return kept | private | {"BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}


def build(context: Path, archive: Path, *, tag: str, labels: Mapping[str, str], home: Path) -> None:
    """Build the Bento that `bentofile.yaml` in `context` describes, and export it to `archive`."""
    name, version = tag.split(":")
    options = [f"--label={key}={value}" for key, value in labels.items()]
    # in the context, since BentoML rejects build files outside of the current folder
    run("build", ".", "--name", name, "--version", version, *options, env=environment(home), cwd=context)
    export(folder(home, tag), archive)


def export(stored: Path, archive: Path) -> None:
    """Write a Bento's folder as a plain tar file, which `bentoml import` reads.

    xz would save an eighth of the size of factors and weights, at a cost of ten seconds per 50 MB here, and five more
    in each import.
    """
    with tarfile.open(archive, "w") as tar:
        tar.add(stored, arcname=".", filter=anonymous)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove owner and time of a member, and make it readable for the user who unpacks it."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode |= 0o755 if member.isdir() else 0o644
    return member


def run(*arguments: str, env: Mapping[str, str], cwd: Path | None = None) -> None:
    """Run a `bentoml` command; raises ValueError with the end of its output if it fails."""
    done = subprocess.run(
        [*BENTOML, *arguments],
        env=env,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise ValueError(f"`bentoml {arguments[0]}` failed with exit status {done.returncode}: {tail(done.stdout)}")


def tail(log: str, lines: int = 6) -> str:
    """Return the last lines of a log, joined to one."""
    return " | ".join([line.strip() for line in log.splitlines() if line.strip()][-lines:])


def folder(home: Path, tag: str) -> Path:
    """Return the folder of a Bento in a store."""
    return home / "bentos" / Path(*tag.split(":"))


def differing(stored: Path, files: Mapping[str, str]) -> list[str]:
    """Return the files of a Bento's folder that are missing, added, or differ from their sha256 in `bento.json`."""
    changed = [
        name
        for name, expected in files.items()
        if not (stored / name).is_file() or outputs.sha256(stored / name) != expected
    ]
    return changed + sorted(sources(stored) - files.keys() - {"src/bentofile.yaml"})


def sources(stored: Path) -> set[str]:
    """Return the files that a Bento's service could import or read, except Python's bytecode."""
    paths = (path for path in (stored / "src").rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(stored).as_posix() for path in paths if "__pycache__" not in path.parts}


def user_home() -> Path:
    """BentoML's home of this user."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml").absolute()


def user_store() -> Path:
    """Return the user's BentoML home, created if missing; raises ValueError if it is not writable."""
    home = user_home()
    try:
        (home / "bentos").mkdir(parents=True, exist_ok=True)
        if not os.access(home / "bentos", os.W_OK):
            raise PermissionError("permission denied")
    except OSError as error:
        raise ValueError(
            f"{home} cannot be a BentoML store ({error.strerror or error}); "
            "set BENTOML_HOME to a writable folder, or remove the file at that path"
        ) from None
    return home


def ensure_imported(archive: Path, bento: Mapping[str, Any]) -> str:
    """Make sure that the user's store has the Bento described by `bento` (a bento.json), and return its tag.

    Imports `archive` if the store lacks the Bento or has other files under its tag.
    """
    if not bento["built"]:
        raise ValueError(f"this version has no Bento to serve: {bento['reason']}")
    tag: str = bento["tag"]
    home = user_store()
    stored = folder(home, tag)
    if stored.is_dir() and not differing(stored, bento["files"]):
        return tag
    if not archive.is_file():
        raise FileNotFoundError(f"{archive} is missing; run `dvc pull`, or `dvc repro package`")
    shutil.rmtree(stored, ignore_errors=True)  # `bentoml import` does not replace
    run("import", str(archive.absolute()), env=user_environment(home))
    modes.close(stored)  # it has users' histories
    if wrong := differing(stored, bento["files"]):
        shutil.rmtree(stored, ignore_errors=True)
        raise ValueError(
            f"{archive} does not match its bento.json: {wrong[0]} differs; run `dvc repro package --force`"
        )
    return tag


def user_environment(home: Path) -> dict[str, str]:
    return {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}


def serve(tag: str, *, host: str, port: int) -> None:
    """Replace this process by `bentoml serve` of a Bento in the user's store; does not return."""
    address = listenable(host, port)
    arguments = [*BENTOML, "serve", tag, "--host", address, "--port", str(port)]
    os.execve(sys.executable, arguments, user_environment(user_store()))


def listenable(host: str, port: int) -> str:
    """Return the IP address of a host name; raises ValueError if a server cannot listen there."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        socket.create_server((str(address[0]), port), family=family).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error}); choose another host or port"
        ) from None
    return str(address[0])
