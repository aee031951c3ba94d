"""Registry of versions: annotated Git tags in the format of GTO (dvc.org/doc/gto), also readable by `gto show`.

longtail@v2.0.0     registers a version: the commit with its dvc.lock, params.yaml and verdict
longtail#prod#3     the third assignment: that version serves from now on
longtail#prod!#4    takes an assignment back (made by `gto unassign`)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.settings.release import Release
from pipelines.workspace import git

VERSION = re.compile(r"@(?P<version>v\d+\.\d+\.\d+)(?P<cancel>!?)(?:#\d+)?$")
NAMED = re.compile(r"(?:@|^releases/)v(?P<major>\d+)\.")  # in a tag, also a cancelling one, or a side ref
ASSIGNMENT = re.compile(r"#(?P<environment>[a-z0-9-]+)(?P<cancel>!?)(?:#(?P<number>\d+))?$")
REMEDY = "check who made it, then sign it: `git tag --sign --force -m checked {0} {0}^{{}}`, or `git tag --delete {0}`"
ACCEPTED: set[str] = set()  # tag objects with a signature that this process has verified
SIDE_REFS = "refs/longtail/releases"  # keep the release commits reachable, as they are on no branch
FIELDS = ("refname:strip=2", "*objectname", "taggername", "taggerdate:unix", "contents:subject", "objectname", "tag")


@dataclass(frozen=True)
class Version:
    name: str
    commit: str
    author: str
    created: datetime

    @property
    def major(self) -> int:
        return int(self.name[1:].split(".")[0])


@dataclass(frozen=True)
class Assignment:
    number: int
    version: str
    author: str
    created: datetime
    message: str
    taken_back: bool


@dataclass(frozen=True)
class Registry:
    artifact: str
    environment: str
    versions: Mapping[str, Version]  # ascending
    assignments: tuple[Assignment, ...]  # of this environment, ascending
    next_major: int  # higher than every version, also deregistered ones
    next_number: int  # GTO counts the assignments of all environments together

    @property
    def serving(self) -> Version | None:
        """Return the version of the assignment with the highest number; dates are too coarse, in whole seconds."""
        assigned: dict[str, int] = {}
        for assignment in self.assignments:
            assigned.pop(assignment.version, None)
            if not assignment.taken_back and assignment.version in self.versions:
                assigned[assignment.version] = assignment.number
        return self.versions[max(assigned, key=assigned.__getitem__)] if assigned else None

    @property
    def rolled_back(self) -> frozenset[str]:
        """Return the versions that were replaced by an older one and not assigned since."""
        left: set[str] = set()
        before: Version | None = None
        for assignment in self.assignments:
            version = self.versions.get(assignment.version)
            if version is None or assignment.taken_back:
                continue
            left.discard(version.name)
            if before is not None and version.major < before.major:
                left.add(before.name)
            before = version
        return frozenset(left)

    def version(self, name: str) -> Version:
        """Return a version by its name; raises ValueError if it is not registered."""
        if name not in self.versions:
            known = ", ".join(self.versions) or "none yet"
            raise ValueError(f"version {name!r} is not registered; registered: {known}")
        return self.versions[name]

    def next_version(self) -> str:
        return f"v{self.next_major}.0.0"

    def version_tag(self, version: str) -> str:
        return f"{self.artifact}@{version}"

    def assignment_tag(self) -> str:
        return f"{self.artifact}#{self.environment}#{self.next_number}"


def read(champion: Champion) -> Registry:
    """Read the registry from the tags of this repository; fast (one Git call)."""
    prefix = f"refs/tags/{champion.name}"
    fields = "%00".join(f"%({field})" for field in FIELDS)
    lines = git.git("for-each-ref", f"--format={fields}", f"{prefix}@*", f"{prefix}#*", f"{SIDE_REFS}/*").splitlines()
    tags = [line.split("\0") for line in lines]
    annotated = [tag for tag in tags if tag[1]]  # GTO ignores lightweight tags too
    if load(Release).signed:
        refuse_unsigned([tag for tag in annotated if counts(champion, tag[0])])
    versions = registered(champion.name, annotated)
    assignments = assigned(champion.name, annotated, {version.commit: version.name for version in versions.values()})
    ours = (assignment for environment, assignment in assignments if environment == champion.environment)
    return Registry(
        artifact=champion.name,
        environment=champion.environment,
        versions=versions,
        assignments=tuple(sorted(ours, key=lambda assignment: assignment.number)),
        next_major=max((int(match["major"]) for tag in tags if (match := NAMED.search(tag[0]))), default=0) + 1,
        next_number=max((assignment.number for _, assignment in assignments), default=0) + 1,
    )


def counts(champion: Champion, name: str) -> bool:
    """Return whether a tag registers, cancels or assigns a version of this environment."""
    rest = name.removeprefix(champion.name)
    assignment = ASSIGNMENT.fullmatch(rest)
    return VERSION.fullmatch(rest) is not None or (
        assignment is not None and assignment["environment"] == champion.environment
    )


def refuse_unsigned(tags: list[list[str]]) -> None:
    """Raise ValueError if a tag is not signed by a key that Git accepts, or was signed under another name."""
    for name, *_, signed_as in tags:
        if name != signed_as:  # otherwise a copy of an old tag would be a new assignment
            raise ValueError(
                f"the tag {name} was signed as {signed_as}, and release.signed is true; {REMEDY.format(name)}"
            )
    objects = {tag[5]: tag[0] for tag in tags if tag[5] not in ACCEPTED}
    try:
        git.verify_tags(list(objects))
    except git.GitError:
        for digest, name in objects.items():
            refuse_unaccepted(digest, name)
    ACCEPTED.update(objects)


def refuse_unaccepted(digest: str, name: str) -> None:
    try:
        git.verify_tags([digest])
    except git.GitError as error:
        raise ValueError(
            f"the tag {name} is not signed by a key that Git accepts ({brief(error)}), and release.signed is true; "
            f"{REMEDY.format(name)}"
        ) from None


def brief(error: git.GitError) -> str:
    return str(error).splitlines()[-1].removeprefix("git verify-tag: ").removeprefix("error: ")


def registered(artifact: str, tags: list[list[str]]) -> dict[str, Version]:
    """Return the versions in ascending order, without deregistered ones."""
    versions: dict[str, Version] = {}
    cancelled: set[str] = set()
    for name, commit, author, time, *_ in tags:
        match = VERSION.fullmatch(name.removeprefix(artifact))
        if match and match["cancel"]:
            cancelled.add(match["version"])
        elif match:
            versions[match["version"]] = Version(
                match["version"], commit, author, datetime.fromtimestamp(int(time), UTC)
            )
    kept = (version for version in versions.values() if version.name not in cancelled)
    return {version.name: version for version in sorted(kept, key=lambda v: [int(n) for n in v.name[1:].split(".")])}


def assigned(artifact: str, tags: list[list[str]], by_commit: Mapping[str, str]) -> list[tuple[str, Assignment]]:
    """Yield (environment, assignment) of every assignment; a deregistered version is given by its commit."""
    found = []
    for name, commit, author, time, message, *_ in tags:
        match = ASSIGNMENT.fullmatch(name.removeprefix(artifact))
        if match:
            created = datetime.fromtimestamp(int(time), UTC)
            number = int(match["number"] or 0)
            version = by_commit.get(commit, commit)
            event = Assignment(number, version, author, created, message, taken_back=match["cancel"] == "!")
            found.append((match["environment"], event))
    return found


def fetch(champion: Champion, remote: str) -> None:
    """Fetch the versions and assignments of a Git remote; raises GitError, also if the two disagree."""
    tags = f"refs/tags/{champion.name}"
    try:
        git.fetch(remote, [f"{tags}@*", f"{tags}#*", f"{SIDE_REFS}/*"])
    except git.GitError as error:
        raise git.GitError(
            f"release.remote is {remote!r}, which cannot be fetched from ({error}); correct the remote, or set "
            "release.remote to null to keep the registry on this machine"
        ) from None


def publish(refs: Mapping[str, str], remote: str | None) -> None:
    """Create refs atomically, first on the remote; raises GitError, with nothing changed, if one exists already."""
    if remote is not None:
        git.push_new(remote, refs)
    git.create_refs(refs)
