"""`longtail push` and `longtail gc`: copy the data of versions to the DVC remote, and free what nothing needs."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from dvc_data.hashfile.hash_info import HashInfo

from pipelines.privacy.shown import shown
from pipelines.registry import version_files
from pipelines.release import kept
from pipelines.runtime.console import say
from pipelines.settings.document import load
from pipelines.settings.release import Release
from pipelines.workspace import dvc_locks, dvc_objects, git
from pipelines.workspace.dvc_objects import Needs

NAME = "longtail"
SHOWN = 3  # missing files by name
VERSION = re.compile(r"v\d+\.\d+\.\d+")
TO_SERVE = [path.as_posix() for path in (*version_files.FILES, version_files.FORMER_ARCHIVE)]


@dataclass(frozen=True)
class Held:
    """Data of a commit in a remote: the number of objects, and the paths of those that it lacks."""

    name: str
    n: int
    missing: Sequence[str]

    @property
    def serves(self) -> bool:
        """Return whether a clone can serve this version; a folder is missing if the list of its files is."""
        return not any(file == path or file.startswith(f"{path}/") for path in self.missing for file in TO_SERVE)

    def text(self) -> str:
        if not self.missing:
            return f"{self.name}: complete, {self.n:,} objects"
        more = f" and {len(self.missing) - SHOWN:,} more" * (len(self.missing) > SHOWN)
        use = "; a clone cannot serve it" if VERSION.fullmatch(self.name) and not self.serves else ""
        return f"{self.name}: lacks {', '.join(self.missing[:SHOWN])}{more}{use}"


def push(versions: Sequence[str]) -> None:
    """Copy what the default DVC remote lacks of these versions, by default of `kept.releases` and of this checkout.

    Raises ValueError if it lacks something afterwards.
    """
    with Repo() as repo:
        if (found := dvc_objects.default_remote(repo)) is None:
            raise ValueError(
                "there is no DVC remote; add one with `dvc remote add --default NAME URL`, then push again"
            )
        name, remote = found
        commits = chosen(kept.releases(), versions)
        with translated(name):
            of_commits = dict(dvc_objects.of_commits(repo, commits.values(), remote))
            needs = {label: of_commits[commit] for label, commit in commits.items()}
            if not versions:
                needs["this checkout"] = dvc_objects.of_index(repo, remote)
            objects = {each for needed in needs.values() for each in needed.files}
            before = dvc_objects.absent(objects, remote)
            here = before - dvc_objects.absent(before, repo.cache.local)
            if here:
                say(NAME, f"pushing {len(here):,} objects to the DVC remote {name}")
                dvc_objects.push(repo, here, name, remote)
            absent = dvc_objects.absent(objects, remote)
    say(NAME, f"{name} has {len(objects - absent):,} of {len(objects):,} objects, {len(before - absent):,} of them new")
    states = [held(label, needed, absent) for label, needed in needs.items()]
    for state in states:
        print(f"  {state.text()}")
    if load(Release).remote is None:
        say(NAME, "clones need the registry too: `git push REMOTE --tags 'refs/longtail/*:refs/longtail/*'`")
    if lacking := [state.name for state in states if state.missing]:
        where = "here again" if here & absent else "on the machine with these data in DVC's cache"
        raise ValueError(f"{name} lacks data of {', '.join(lacking)}, see above; run `{NAME} push` {where}")


def chosen(commits: Mapping[str, str], names: Sequence[str]) -> Mapping[str, str]:
    """Return the commits of these names, or all."""
    if unknown := [name for name in names if name not in commits]:
        raise ValueError(
            f"version {unknown[0]!r} is not registered; expected some of {', '.join(commits) or 'none yet'}"
        )
    return {name: commits[name] for name in names} if names else commits


@contextmanager
def translated(remote: str) -> Iterator[None]:
    """Turn errors of a remote's driver, which can be of any kind, into ValueError."""
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        what = shown(" ".join(str(error).split()))
        raise ValueError(
            f"the DVC remote {remote} failed ({type(error).__name__}: {what}); check its address"
        ) from error


def remote_states(repo: Repo, name: str, remote: HashFileDB) -> list[Held]:
    """Return what a remote has of each version and open run and of the watched data."""
    commits = kept.releases()
    with translated(name):
        needs = dict(dvc_objects.of_commits(repo, commits.values(), remote))
        absent = dvc_objects.absent({each for needed in needs.values() for each in needed.files}, remote)
    return [held(label, needs[commit], absent) for label, commit in commits.items()]


def held(name: str, needed: Needs, absent: Collection[HashInfo]) -> Held:
    missing = {path for each, paths in needed.files.items() if each in absent for path in paths}
    return Held(name, len(needed.files), sorted(missing, key=lambda path: (path not in TO_SERVE, path)))


def collect_garbage(*, delete: bool, remote: bool, ignore_missing: bool, others: Sequence[Path] = ()) -> None:
    """Free objects of DVC that no version, open run, worktree, branch, tag or experiment needs.

    remote: also in the default DVC remote. ignore_missing: go on although lists of files are missing. others: further
    checkouts that share DVC's cache, whose data are kept as well.
    """
    with ExitStack() as stack:
        repo = stack.enter_context(Repo())
        refuse_shared(Path(repo.cache.local.path), others)
        found = dvc_objects.default_remote(repo)
        if remote and found is None:
            raise ValueError("--remote needs a DVC remote; add one with `dvc remote add --default NAME URL`")
        needs: dict[str, Needs] = {}
        for checkout in (Path.cwd(), *others):
            stack.enter_context(chdir(checkout))
            kept.refresh()
            stack.enter_context(idle())
            with translated(found[0] if found else "none"):
                needs |= needed_by(checkout, found[1] if found else None)
        refuse_unlisted(needs, ignore=ignore_missing)
        used = {each for needed in needs.values() for each in needed.files}
        places = {"DVC's cache": repo.cache.local}
        if remote and found is not None:
            places[f"the DVC remote {found[0]}"] = found[1]
        free(places, used, delete=delete)


def refuse_shared(cache: Path, others: Sequence[Path]) -> None:
    """Raise ValueError for a cache elsewhere, unless other checkouts are named: it is likely to be shared with some."""
    if not others and not cache.resolve().is_relative_to(git.state_folder().parent.resolve()):
        raise ValueError(
            f"DVC's cache {cache} lies outside this checkout, so other checkouts may need what looks unused here; name "
            f"all of them, such as `{NAME} gc --also ../other`, or this one alone (`--also .`) if there are none"
        )


def needed_by(checkout: Path, remote: HashFileDB | None) -> dict[str, Needs]:
    """Return the needs of a checkout, the current folder, by what needs them."""
    releases = kept.releases()
    commits = releases | kept.in_git()
    with Repo() as repo:
        by_commit = dict(dvc_objects.of_commits(repo, commits.values(), remote))
    found = {f"{name} of {checkout}": by_commit[commit] for name, commit in commits.items() if commit in by_commit}
    for folder in kept.worktrees():
        with Repo(folder) as other:
            found[f"worktree {folder}"] = dvc_objects.of_index(other, remote)
    names = ", ".join(releases) or "no version"
    say(NAME, f"{checkout} needs the data of {names}, and of its branches, tags, experiments and worktrees")
    return found


def free(places: Mapping[str, HashFileDB], used: Collection[HashInfo], *, delete: bool) -> None:
    total = 0
    for name, odb in places.items():
        sizes = dvc_objects.unused(odb, used)
        total += len(sizes)
        if delete and sizes:
            dvc_objects.remove_unused(odb, used)
        does = "freed" if delete else "would free"
        say(NAME, f"{does} {len(sizes):,} objects, {sum(sizes.values()) / 1e6:,.1f} MB, of {name}")
    if total and not delete:
        say(NAME, "nothing is deleted yet; run again with --yes to delete it")


def refuse_unlisted(by_name: Mapping[str, Needs], *, ignore: bool) -> None:
    """Raise ValueError if a list of files is missing, since those that are still in the cache would look unused."""
    lost = [f"{path} of {name}" for name, needed in by_name.items() for path in needed.unlisted]
    if lost and not ignore:
        more = f" and {len(lost) - 1} more" * (len(lost) > 1)
        raise ValueError(
            f"the list of files of {lost[0]}{more} is neither in DVC's cache nor in the remote, so that some of these "
            f"files may look unused; get it by `dvc fetch`, or run `{NAME} gc --ignore-missing` if its data may be lost"
        )


@contextmanager
def idle() -> Iterator[None]:
    """Hold the worktrees of all runs; raises ValueError while DVC or a task works.

    No commit names its new objects yet.
    """
    for folder in kept.worktrees():
        with chdir(folder):
            if holders := dvc_locks.holders():
                raise ValueError(f"DVC is running in {folder} ({holders}); wait until it ends, or end it")
    with ExitStack() as stack:
        for path in sorted((git.state_folder() / "runs").glob("*.lock")):
            file = stack.enter_context(path.open("a+"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"a task of the run {path.stem} is at work; wait until it ends") from None
        yield
