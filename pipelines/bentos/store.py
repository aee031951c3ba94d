"""Bentos: built and exported in throw-away stores, imported into the user's store, served from it.

The exported archive is the artifact; a BentoML store is a cache of it. Every step is a `bentoml` process of its own,
because BentoML takes its store from the environment once per process.
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
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")  # of the environment; PYTHONPATH would shadow the Bento


def environment(home: Path) -> dict[str, str]:
    """Environment of a `bentoml` process that sees nothing of the user's: store and settings are in `home`."""
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    private = dict.fromkeys(("HOME", "BENTOML_HOME", "TMPDIR"), str(home))
    return kept | private | {"BENTOML_DO_NOT_TRACK": "True", "OMP_NUM_THREADS": "1"}


def build(context: Path, archive: Path, *, tag: str, labels: Mapping[str, str], home: Path) -> None:
    """Build the Bento that `bentofile.yaml` in `context` describes, and export it to `archive`."""
    name, version = tag.split(":")
    options = [f"--label={key}={value}" for key, value in labels.items()]
    # in the context, since BentoML refuses build files outside of the current folder
    run("build", ".", "--name", name, "--version", version, *options, env=environment(home), cwd=context)
    export(folder(home, tag), archive)


def export(stored: Path, archive: Path) -> None:
    """Write a Bento's folder as a plain tar file, which `bentoml import` reads.

    Compressed by xz, factors and weights would lose an eighth of their size for ten seconds per 50 MB here, and five
    more in each import.
    """
    with tarfile.open(archive, "w") as tar:
        tar.add(stored, arcname=".", filter=anonymous)


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time, and readable by whoever unpacks it."""
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode |= 0o755 if member.isdir() else 0o644
    return member


def run(*arguments: str, env: Mapping[str, str], cwd: Path | None = None) -> None:
    """Run a `bentoml` command; raises ValueError with the end of what it printed where it fails."""
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
        raise ValueError(f"`bentoml {arguments[0]}` exited {done.returncode}: {tail(done.stdout)}")


def tail(log: str, lines: int = 6) -> str:
    """The last lines of a log, in one."""
    return " | ".join([line.strip() for line in log.splitlines() if line.strip()][-lines:])


def folder(home: Path, tag: str) -> Path:
    """Where a store keeps a Bento."""
    return home / "bentos" / Path(*tag.split(":"))


def differing(stored: Path, files: Mapping[str, str]) -> list[str]:
    """Files of a Bento's folder that are missing, do not have the sha256 that `bento.json` names, or were added."""
    changed = [
        name
        for name, expected in files.items()
        if not (stored / name).is_file() or outputs.sha256(stored / name) != expected
    ]
    return changed + sorted(sources(stored) - files.keys() - {"src/bentofile.yaml"})


def sources(stored: Path) -> set[str]:
    """Return the files that a Bento's service could import or read, but for the bytecode that Python keeps."""
    paths = (path for path in (stored / "src").rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(stored).as_posix() for path in paths if "__pycache__" not in path.parts}


def user_home() -> Path:
    """BentoML's home of this user."""
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml").absolute()


def user_store() -> Path:
    """The user's BentoML home, created where it is missing; raises where it cannot be one."""
    home = user_home()
    try:
        (home / "bentos").mkdir(parents=True, exist_ok=True)
        if not os.access(home / "bentos", os.W_OK):
            raise PermissionError("permission denied")
    except OSError as error:
        raise ValueError(
            f"{home} cannot be a BentoML store ({error.strerror or error}); "
            "set BENTOML_HOME to a folder that you may write, or remove what is there"
        ) from None
    return home


def ensure_imported(archive: Path, bento: Mapping[str, Any]) -> str:
    """Tag of the Bento that `bento` (a bento.json) describes, after making sure that the user's store holds it.

    Imports `archive` where the store lacks the Bento or holds other files under its tag.
    """
    if not bento["built"]:
        raise ValueError(f"there is no Bento to serve: {bento['reason']}")
    tag: str = bento["tag"]
    home = user_store()
    stored = folder(home, tag)
    if stored.is_dir() and not differing(stored, bento["files"]):
        return tag
    if not archive.is_file():
        raise FileNotFoundError(f"{archive} is missing; run `dvc pull`, or `dvc repro package`")
    shutil.rmtree(stored, ignore_errors=True)  # an import never replaces
    run("import", str(archive.absolute()), env=user_environment(home))
    modes.close(stored)  # it holds histories of users
    if wrong := differing(stored, bento["files"]):
        shutil.rmtree(stored, ignore_errors=True)
        raise ValueError(
            f"{archive} does not hold what its bento.json says: {wrong[0]} differs; run `dvc repro package --force`"
        )
    return tag


def user_environment(home: Path) -> dict[str, str]:
    return {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}


def serve(tag: str, *, host: str, port: int) -> None:
    """Become `bentoml serve` of a Bento in the user's store; does not return."""
    address = listenable(host, port)
    arguments = [*BENTOML, "serve", tag, "--host", address, "--port", str(port)]
    os.execve(sys.executable, arguments, user_environment(user_store()))


def listenable(host: str, port: int) -> str:
    """IP address of a host name, after making sure that a server may listen there: BentoML would end in a traceback."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0]
        socket.create_server((str(address[0]), port), family=family).close()
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"cannot listen on {host}:{port} ({getattr(error, 'strerror', None) or error}); choose another host or port"
        ) from None
    return str(address[0])
