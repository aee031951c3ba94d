"""Objects of DVC that commits and workspaces need, and which of them the cache or a remote has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile import load
from dvc_data.hashfile.db import HashFileDB, get_index
from dvc_data.hashfile.gc import gc
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.transfer import transfer
from dvc_data.hashfile.tree import Tree
from dvc_objects.errors import ObjectFormatError

from pipelines.privacy.shown import shown

if TYPE_CHECKING:
    from dvc.output import Output


@dataclass(frozen=True)
class Needs:
    """Paths by the object that has their content; unlisted: folders whose list of files is nowhere to be found."""

    files: Mapping[HashInfo, Collection[str]]
    unlisted: Sequence[str]


def default_remote(repo: Repo) -> tuple[str, HashFileDB] | None:
    """Return the name of the default remote and its objects; None if there is no remote.

    The remote is that of the checkout: the configuration in an older commit may lack it.
    """
    name: str | None = repo.config["core"].get("remote")
    if name is None:
        return None
    try:
        return name, repo.cloud.get_remote_odb(name)
    except DvcException as error:
        raise ValueError(f"the DVC remote {name} cannot be used: {shown(str(error))}") from error


def of_commits(repo: Repo, commits: Iterable[str], remote: HashFileDB | None) -> Iterator[tuple[str, Needs]]:
    """Yield the needs of commits, each commit once; lists of files are fetched from the remote if need be."""
    for commit in repo.brancher(revs=list(dict.fromkeys(commits)), workspace=False, sha_only=True):
        try:
            yield commit, of_index(repo, remote)
        except DvcException as error:
            raise ValueError(f"DVC cannot read commit {commit[:12]}: {shown(str(error))}") from error


def of_index(repo: Repo, remote: HashFileDB | None) -> Needs:
    """Return the needs of the workspace of a repository, or of the commit that it reads now."""
    files: dict[HashInfo, set[str]] = {}
    unlisted = []
    for out in repo.index.outs:
        if not out.use_cache or not out.hash_info or out.stage.is_repo_import:
            continue
        path = str(out)
        files.setdefault(out.hash_info, set()).add(path)
        if not out.hash_info.isdir:
            continue
        if (tree := listing(out, remote)) is None:
            unlisted.append(path)
            continue
        for key, _, entry in tree:
            files.setdefault(entry, set()).add("/".join((path, *key)))
    return Needs(files, unlisted)


def listing(out: Output, remote: HashFileDB | None) -> Tree | None:
    """Return the list of files of a folder, from the cache or else the remote."""
    for fetches in (False, True):
        if fetches and remote is not None:
            with suppress(FileNotFoundError):
                transfer(remote, out.cache, {out.hash_info}, shallow=True)
        with suppress(FileNotFoundError, ObjectFormatError):
            tree = load(out.cache, out.hash_info)
            assert isinstance(tree, Tree)
            return tree
    return None


def absent(objects: Collection[HashInfo], odb: HashFileDB) -> set[HashInfo]:
    """Return the objects that a cache or remote lacks, by a look at it: DVC's index of a remote may be out of date."""
    oids = [each.value for each in objects if each.value]
    there = set(odb.oids_exist(oids)) if oids else set()  # type: ignore[no-untyped-call]
    return {each for each in objects if each.value not in there}


def nowhere(repo: Repo, commit: str) -> list[str]:
    """Return the paths at a commit whose content neither the cache nor the default remote has."""
    found = default_remote(repo)
    remote = None if found is None else found[1]
    ((_, needs),) = of_commits(repo, [commit], remote)
    lost = absent(needs.files, repo.cache.local)
    if lost and remote is not None:
        lost = absent(lost, remote)
    return sorted({*needs.unlisted, *(path for each in lost for path in needs.files[each])})


def push(repo: Repo, objects: Collection[HashInfo], remote: str, odb: HashFileDB) -> None:
    """Copy objects from the cache to a remote; those that fail are absent there afterwards."""
    get_index(odb).clear()
    repo.cloud.push(objects, remote=remote)


def unused(odb: HashFileDB, used: Collection[HashInfo]) -> dict[str, int]:
    """Return the bytes of each object that is not used."""
    everything = odb.all()  # type: ignore[no-untyped-call]
    kept = {each.value for each in used if each.name == odb.hash_name}
    return {oid: odb.fs.size(odb.oid_to_path(oid)) or 0 for oid in everything if oid not in kept}


def remove_unused(odb: HashFileDB, used: Collection[HashInfo]) -> int:
    """Remove all objects that are not used, and return their number."""
    removed: int = gc(odb, used)
    return removed
