"""Git by subprocess. No function changes the user's branch, index or files."""

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
    """A Git command failed; the message is Git's own."""


def git(*args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a Git command and return its standard output, stripped; raises GitError."""
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
    """Return the top folder of the checkout around the current folder."""
    try:
        return Path(git("rev-parse", "--show-toplevel"))
    except GitError as error:
        if "not a git repository" not in str(error):
            raise
        raise ValueError(
            f"{Path.cwd()} is not inside a Git checkout, which has the registry of versions; clone the project, "
            "or run `git init && git add . && git commit -m start` in its folder"
        ) from None


def head() -> str:
    """Return the checked-out commit."""
    try:
        return git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    except GitError:
        raise ValueError("the Git checkout has no commit yet; run `git add . && git commit -m start` first") from None


def common_dir() -> Path:
    """Return the .git folder that all worktrees share."""
    return Path(git("rev-parse", "--path-format=absolute", "--git-common-dir"))


def state_folder() -> Path:
    """Return `.longtail` beside the Git folder that all worktrees share, or in the current folder without a checkout.

    Only owner and group can read it.
    """
    try:
        common = common_dir()
    except (GitError, FileNotFoundError):  # no checkout, or no Git
        folder = Path(".longtail")
    else:
        folder = (common.parent if common.name == ".git" else common) / ".longtail"
    with suppress(OSError):  # a read-only checkout
        modes.folder(folder)
    return folder


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock between the processes of all worktrees; waits for it; released when the process ends."""
    with held(common_dir() / f"{name}.lock"):
        yield


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; waits for it; released when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_file(commit: str, path: str) -> bytes:
    """Return the content of a file in a commit."""
    return output("cat-file", "blob", f"{commit}:{path}")


def read_files(names: Sequence[str]) -> list[bytes | None]:
    """Return the contents of many files, each named `commit:path`, by one Git call; None for a missing one."""
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
    """Return name and email of the user: from Git's configuration, else from the account, so no set-up is needed."""
    name = os.environ.get("GIT_COMMITTER_NAME") or setting("user.name") or account()
    email = os.environ.get("GIT_COMMITTER_EMAIL") or setting("user.email") or f"{account()}@localhost"
    return name, email


def account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no account entry of the user id, as in a container
        return "unknown"


def setting(key: str) -> str | None:
    try:
        return git("config", "--get", key)
    except GitError:
        return None


def snapshot(*, always: Sequence[str], folders: Sequence[str], files: Mapping[str, bytes]) -> str:
    """Write a tree of the working tree, uncommitted changes included, with `files` (path: content) added.

    It has all tracked files, `always` even if ignored, and new files of `folders` unless ignored. It is made in a
    temporary copy of the user's index, so that unchanged files are not hashed again.
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
    """Write the tree of a commit with some files (path: content) added or replaced."""
    with tempfile.TemporaryDirectory() as folder:
        env = {"GIT_INDEX_FILE": os.fspath(Path(folder, "index"))}
        git("read-tree", base, env=env)
        for path, content in files.items():
            blob = git("hash-object", "-w", "--stdin", stdin=content)
            git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", env=env)
        return git("write-tree", env=env)


def commit_tree(tree: str, *, parent: str | None, message: str) -> str:
    """Write a commit object that no branch points to; parent: None for the first commit of a history."""
    name, email = identity()
    env = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", name), ("EMAIL", email))
    }
    parents = () if parent is None else ("-p", parent)
    return git("commit-tree", tree, *parents, "-m", message, env=env)


def make_tag(name: str, commit: str, *, message: str, time: int, signed: bool = False) -> str:
    """Write an annotated tag object (not yet a ref), dated `time` in seconds since 1970."""
    author, email = ("".join(c for c in part if c not in "<>\n") for part in identity())
    if signed:
        try:
            made = signed_tag(name, commit, message=message, tagger=(author, email, f"{time} +0000"))
            verify_tags([made])
        except GitError as error:
            raise ValueError(
                f"release.signed is true, but Git cannot sign {name} and verify the signature "
                f"({' '.join(str(error).split())}); set gpg.format, user.signingkey and, for ssh, "
                "gpg.ssh.allowedSignersFile with `git config`"
            ) from None
        return made
    text = f"object {commit}\ntype commit\ntag {name}\ntagger {author} <{email}> {time} +0000\n\n{message}\n"
    return git("mktag", stdin=text.encode("utf-8"))


def signed_tag(name: str, commit: str, *, message: str, tagger: tuple[str, str, str]) -> str:
    """Write a tag object by `git tag --sign`, with any kind of key that Git is configured for.

    That command also creates a ref, so it runs in a temporary repository with this one's objects and settings.
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
    """Quote a path for Git's configuration."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def verify_tags(objects: Sequence[str]) -> None:
    """Raise GitError unless Git accepts the signatures of all these tag objects."""
    if objects:
        git("verify-tag", *objects)


def create_refs(refs: Mapping[str, str]) -> None:
    """Create all refs or none; raises GitError if one exists."""
    commands = "".join(f"create {ref} {target}\n" for ref, target in refs.items())
    git("update-ref", "--stdin", stdin=f"start\n{commands}prepare\ncommit\n".encode())


def push_new(remote: str, refs: Mapping[str, str]) -> None:
    """Create all refs on a remote or none; raises GitError if one exists there."""
    leases = (f"--force-with-lease={ref}:" for ref in refs)
    git("push", "--quiet", "--atomic", *leases, remote, *(f"{target}:{ref}" for ref, target in refs.items()))


def commit_of(revision: str) -> str | None:
    """Return the commit of a ref or other revision; None if there is none."""
    try:
        return git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except GitError:
        return None


def has(commit: str) -> bool:
    """Return whether this repository has a commit, given by its full id."""
    return commit_of(commit) is not None


def move_ref(ref: str, new: str, old: str | None, *, remote: str | None = None) -> None:
    """Move a ref, on a remote or here, from `old` (None: missing) to `new`; raises GitError if it is elsewhere."""
    if remote is not None:
        git("push", "--quiet", f"--force-with-lease={ref}:{old or ''}", remote, f"{new}:{ref}")
        git("update-ref", ref, new)
    else:
        git("update-ref", ref, new, old or "0" * 40)


def fetch(remote: str, patterns: Sequence[str]) -> None:
    """Fetch refs that match the patterns, under the same names; never overwrites a different one."""
    git("fetch", "--quiet", "--no-tags", remote, *(f"{pattern}:{pattern}" for pattern in patterns))
