"""Git by subprocess. Nothing here touches the user's branch, index or files."""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.privacy import modes


class GitError(ValueError):
    """Git refused; the message is Git's own last word."""


def git(*args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
    """Standard output of one Git command, stripped; raises GitError."""
    return output(*args, stdin=stdin, env=env).decode("utf-8", "surrogateescape").strip()


def output(*args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> bytes:
    try:
        done = subprocess.run(
            ["git", *args],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", **(env or {})},  # messages are matched below, so no translations
        )
    except FileNotFoundError:
        raise FileNotFoundError("git is not on the PATH; install it") from None
    if done.returncode != 0:
        raise GitError(f"git {args[0]}: {done.stderr.decode('utf-8', 'replace').strip() or f'exit {done.returncode}'}")
    return done.stdout


def root() -> Path:
    """Top folder of the checkout around the current folder."""
    try:
        return Path(git("rev-parse", "--show-toplevel"))
    except GitError as error:
        if "not a git repository" not in str(error):
            raise
        raise ValueError(
            f"{Path.cwd()} is not inside a Git checkout, which holds the registry of versions; clone the project, "
            "or run `git init && git add . && git commit -m start` in its folder"
        ) from None


def head() -> str:
    """Commit that is checked out."""
    try:
        return git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitError:
        raise ValueError("the Git checkout has no commit yet; run `git add . && git commit -m start` first") from None


def common_dir() -> Path:
    """The .git folder that all worktrees share."""
    return Path(git("rev-parse", "--path-format=absolute", "--git-common-dir"))


def state_folder() -> Path:
    """`.longtail` beside the Git folder that all worktrees share; in the current folder where there is no checkout.

    Users beyond owner and group cannot read it.
    """
    try:
        common = common_dir()
    except (GitError, FileNotFoundError):  # no checkout, or no Git
        folder = Path(".longtail")
    else:
        folder = (common.parent if common.name == ".git" else common) / ".longtail"
    with suppress(OSError):  # a checkout that may only be read
        modes.folder(folder)
    return folder


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock between the processes of all worktrees; waits for it, and ends with the process."""
    with held(common_dir() / f"{name}.lock"):
        yield


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock that a file is; waits for it, and ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_file(commit: str, path: str) -> bytes:
    """Content of a file in a commit."""
    return output("cat-file", "blob", f"{commit}:{path}")


def read_files(names: Sequence[str]) -> list[bytes | None]:
    """Contents of many files, each named `commit:path`, in one Git call; None for one that is missing."""
    if not names:
        return []
    found, start, text = list[bytes | None](), 0, output("cat-file", "--batch", stdin="\n".join(names).encode())
    for _ in names:
        end = text.index(b"\n", start)
        header, start = text[start:end].split(b" "), end + 1
        if header[-1] == b"missing":
            found.append(None)
            continue
        size = int(header[-1])
        found.append(text[start : start + size])
        start += size + 1
    return found


def identity() -> tuple[str, str]:
    """Name and email of the user: Git's where configured, else the account's, so that no set-up is needed."""
    name = os.environ.get("GIT_COMMITTER_NAME") or setting("user.name") or account()
    email = os.environ.get("GIT_COMMITTER_EMAIL") or setting("user.email") or f"{account()}@localhost"
    return name, email


def account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no entry
        return "unknown"


def setting(key: str) -> str | None:
    try:
        return git("config", "--get", key)
    except GitError:
        return None


def snapshot(*, always: Sequence[str], folders: Sequence[str], files: Mapping[str, bytes]) -> str:
    """Tree of the working tree as it is, whatever is committed, with `files` (path: content) added.

    It holds all tracked files, `always` even where ignored, and new files of `folders` that are not ignored. Made in a
    temporary index that starts as a copy of the user's, which spares hashing unchanged files.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder, "index")
        current = Path(git("rev-parse", "--git-path", "index"))
        if current.is_file():
            shutil.copy2(current, index)
        env = {"GIT_INDEX_FILE": os.fspath(index)}
        git("add", "--update", "--", ":/", env=env)
        git("add", "--force", "--", *(path for path in always if Path(path).exists()), env=env)
        git("add", "--", *(path for path in folders if Path(path).exists()), env=env)
        for path, content in files.items():
            blob = git("hash-object", "-w", "--stdin", stdin=content)
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
        return git("write-tree", env=env)


def tree_with(base: str, files: Mapping[str, bytes]) -> str:
    """Tree of a commit with some files (path: content) added or replaced."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": os.fspath(Path(folder, "index"))}
        git("read-tree", base, env=env)
        for path, content in files.items():
            blob = git("hash-object", "-w", "--stdin", stdin=content)
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
        return git("write-tree", env=env)


def commit_tree(tree: str, *, parent: str | None, message: str) -> str:
    """A commit object that no branch points to; parent: None for the first one of a history."""
    name, email = identity()
    env = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", name), ("EMAIL", email))
    }
    parents = () if parent is None else ("-p", parent)
    return git("commit-tree", tree, *parents, "-m", message, env=env)


def make_tag(name: str, commit: str, *, message: str, time: int, signed: bool = False) -> str:
    """An annotated tag object (not yet a ref), dated `time` in seconds since 1970."""
    who, email = ("".join(c for c in part if c not in "<>\n") for part in identity())
    if signed:
        try:
            made = signed_tag(name, commit, message=message, tagger=(who, email, f"{time} +0000"))
            verify_tags([made])
        except GitError as error:
            raise ValueError(
                f"release.signed is true, but Git does not sign {name} so that it accepts the signature itself "
                f"({' '.join(str(error).split())}); set gpg.format, user.signingkey and, of ssh, "
                "gpg.ssh.allowedSignersFile with `git config`"
            ) from None
        return made
    text = f"object {commit}\ntype commit\ntag {name}\ntagger {who} <{email}> {time} +0000\n\n{message}\n"
    return git("mktag", stdin=text.encode("utf-8"))


def signed_tag(name: str, commit: str, *, message: str, tagger: tuple[str, str, str]) -> str:
    """A tag object as `git tag --sign` makes it, whatever kind of key Git is told to sign with.

    That command makes a ref as well: in a repository for the moment, which has our objects and settings.
    """
    objects = git("rev-parse", "--path-format=absolute", "--git-path", "objects")
    configs = [git("rev-parse", "--path-format=absolute", "--git-path", name) for name in ("config", "config.worktree")]
    with tempfile.TemporaryDirectory() as folder:
        git("init", "--quiet", "--bare", "--template=", f"--object-format={object_format()}", folder)
        own = Path(folder, "config")
        own.write_text(
            "".join(f"[include]\n\tpath = {quoted(path)}\n" for path in configs) + own.read_text("utf-8"), "utf-8"
        )
        env = {"GIT_DIR": folder, "GIT_OBJECT_DIRECTORY": objects} | dict(
            zip(("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "GIT_COMMITTER_DATE"), tagger, strict=True)
        )
        git("tag", "--sign", "--cleanup=verbatim", "-m", f"{message}\n", name, commit, env=env)
        return git("rev-parse", "--verify", f"refs/tags/{name}", env=env)


def object_format() -> str:
    return git("rev-parse", "--show-object-format")


def quoted(path: str) -> str:
    """A path as Git's configuration takes it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def verify_tags(objects: Sequence[str]) -> None:
    """Raise GitError unless Git accepts the signature of each of these tag objects."""
    if objects:
        git("verify-tag", *objects)


def create_refs(refs: Mapping[str, str]) -> None:
    """Create all refs or none; one that exists already is an error."""
    commands = "".join(f"create {ref} {target}\n" for ref, target in refs.items())
    git("update-ref", "--stdin", stdin=f"start\n{commands}prepare\ncommit\n".encode())


def push_new(remote: str, refs: Mapping[str, str]) -> None:
    """Create all refs on a remote or none; one that exists there already is an error."""
    leases = (f"--force-with-lease={ref}:" for ref in refs)
    git("push", "--quiet", "--atomic", *leases, remote, *(f"{target}:{ref}" for ref, target in refs.items()))


def commit_of(revision: str) -> str | None:
    """The commit that a ref or another name of a revision stands for; None where there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except GitError:
        return None


def has(commit: str) -> bool:
    """Whether a commit, given by its full id, is here."""
    return commit_of(commit) is not None


def move_ref(ref: str, new: str, old: str | None, *, remote: str | None = None) -> None:
    """Let a ref, on a remote or here, point to `new` where it points to `old` now (None: to nothing); else GitError."""
    if remote is not None:
        git("push", "--quiet", f"--force-with-lease={ref}:{old or ''}", remote, f"{new}:{ref}")
        git("update-ref", ref, new)
    else:
        git("update-ref", ref, new, old or "0" * 40)


def fetch(remote: str, patterns: Sequence[str]) -> None:
    """Fetch refs that match the patterns under their own names; never overwrites one that differs."""
    git("fetch", "--quiet", "--no-tags", remote, *(f"{pattern}:{pattern}" for pattern in patterns))
