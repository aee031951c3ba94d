"""Ledger of judgements in Git: `refs/longtail/ledger`, a chain of commits with one entry in each message.

Entries are only ever added. A machine adds to the ref by compare-and-set. With a remote, the remote's chain defines the
order: entries that it lacks are appended to it, here and there, so that machines that were offline lose nothing. Every
commit has its position, which distinguishes a truncated chain (such as of a shallow clone) from a short one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipelines.workspace import git

REF = "refs/longtail/ledger"
LOCK = "longtail-ledger"
TRIES = 20
FIELD, END = "\x1f", "\x1e"  # JSON escapes both of them
REMEDY = f"fetch it from a complete copy with `git fetch --unshallow REMOTE` or `git fetch REMOTE +{REF}:{REF}`"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Common(BaseModel):
    """Fields of every entry; fields of newer versions are preserved."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    artifact: str
    environment: str
    epoch: str | None  # the version whose promotion began the epoch; null: before the first one
    by: str
    at: str
    run: str | None  # id of the run in Airflow


class Judgement(Common):
    """Judgement of a candidate by a policy on a holdout; for `what-if`, by a policy that was only tried."""

    kind: Literal["judgement", "what-if"]
    judgement: Sha256  # of the candidate, the policy, the champion and the holdout: equal ones are one attempt
    number: Annotated[int, Field(ge=1)]
    line: Annotated[int, Field(ge=0)]
    rule: Literal["spend", "count"]
    level: Annotated[float, Field(ge=0, lt=0.5)]
    verdict: Literal["PROMOTE", "HOLD", "REJECT"]
    champion: str | None  # version
    digests: dict[str, Sha256]
    policy: Sha256
    split: dict[str, Any]
    window: Annotated[list[str], Field(min_length=2, max_length=2)] | None  # first and last time of test
    settings: dict[str, Any]  # of the model, in short


class Lost(Common):
    """Statement of a person that the earlier history is lost for good."""

    kind: Literal["lost"]
    judgement: Sha256  # of the newest release, which is missing from the ledger
    reason: str


Entry = Annotated[Judgement | Lost, Field(discriminator="kind")]
ENTRY: TypeAdapter[Judgement | Lost] = TypeAdapter(Entry)


class DamagedError(ValueError):
    """Damaged chain: not a complete chain that entries were only added to."""


@dataclass(frozen=True)
class Ledger:
    """Entries in their order, and the commit of the last one."""

    tip: str | None
    entries: tuple[Judgement | Lost, ...]


def read() -> Ledger:
    """Read the local ledger; empty if the ref is missing. Raises DamagedError."""
    tip = git.commit_of(REF)
    return Ledger(tip, () if tip is None else chain(tip, "here"))


def chain(tip: str, where: str) -> tuple[Judgement | Lost, ...]:
    """Read the entries up to a commit; raises DamagedError if one is missing or unreadable."""
    try:
        text = git.git("rev-list", f"--format=%P{FIELD}%B{END}", tip, env={"GIT_NO_REPLACE_OBJECTS": "1"})
    except git.GitError as error:
        raise damaged(where, tip, f"Git cannot read it ({error})") from None
    commits = [record.strip("\n").removeprefix("commit ") for record in text.split(END) if record.strip()]
    found = []
    for position, record in enumerate(reversed(commits), start=1):
        commit, _, rest = record.partition("\n")
        parents, _, message = rest.partition(FIELD)
        if (n := len(parents.split())) != (position > 1):
            raise damaged(where, commit, f"it has {n} parents as number {position} of the chain")
        try:
            document = json.loads(message.partition("\n\n")[2])
            sequence, entry = document["sequence"], ENTRY.validate_json(json.dumps(document["entry"]))
        except (ValueError, KeyError, TypeError) as error:
            detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise damaged(where, commit, f"its message is not a valid entry of version 1 ({detail})") from None
        if sequence != position:
            raise damaged(
                where, commit, f"it is number {sequence} and the {position} oldest one there: history is missing"
            )
        found.append(entry)
    return tuple(found)


def damaged(where: str, commit: str, text: str) -> DamagedError:
    return DamagedError(
        f"the ledger of judgements {where}, {REF}, is damaged at commit {commit[:12]}: {text}; {REMEDY}"
    )


def append(ledger: Ledger, entry: Judgement | Lost) -> bool:
    """Add an entry after the last one; return False if another process was faster."""
    tip = extended(ledger.tip, len(ledger.entries), [entry])
    try:
        git.move_ref(REF, tip, ledger.tip)
    except git.GitError:
        if git.commit_of(REF) != ledger.tip:
            return False
        raise
    return True


def extended(tip: str | None, length: int, entries: Sequence[Judgement | Lost]) -> str:
    """Create a commit for each entry on top of a chain, and return the last; no ref points to it yet."""
    empty = git.git("mktree", stdin=b"")
    for sequence, entry in enumerate(entries, start=length + 1):
        body = json.dumps({"sequence": sequence, "entry": json.loads(text_of(entry))}, indent=1, sort_keys=True)
        what = f"{entry.kind} {entry.number}: {entry.verdict}" if isinstance(entry, Judgement) else entry.kind
        tip = git.commit_tree(empty, parent=tip, message=f"{what}\n\n{body}")
    if tip is None:
        raise ValueError("no entry was given; expected at least one")
    return tip


def text_of(entry: Judgement | Lost) -> str:
    """Return the entry as canonical JSON, by which machines recognise equal entries."""
    return json.dumps(entry.model_dump(mode="json"), sort_keys=True)


def synchronize(remote: str) -> None:
    """Synchronise the local chain and that of a Git remote, so that both have all entries.

    Raises GitError if the remote cannot be reached or refuses, DamagedError if a chain is damaged.
    """
    failure: git.GitError | None = None
    for _ in range(TRIES):
        ours, theirs = read(), remote_tip(remote)
        if theirs == ours.tip:
            return
        known = () if theirs is None else chain(theirs, f"of the remote {remote!r}")
        texts = {text_of(entry) for entry in known}
        ahead = [entry for entry in ours.entries if text_of(entry) not in texts]
        try:
            if ahead:
                target = extended(theirs, len(known), ahead)
                git.git("push", "--quiet", f"--force-with-lease={REF}:{theirs or ''}", remote, f"{target}:{REF}")
            else:
                target = theirs or ""
            git.move_ref(REF, target, ours.tip)
            return
        except git.GitError as error:
            failure = error  # another machine, or another process here, may have been faster
            if remote_tip(remote) == theirs and git.commit_of(REF) == ours.tip:
                raise
    raise failure or git.GitError(f"{REF} of {remote!r} changes too fast; try again")


def remote_tip(remote: str) -> str | None:
    """Fetch the last commit of a remote's chain; None if the remote has none."""
    listed = git.git("ls-remote", remote, REF).split()
    if not listed:
        return None
    if not git.has(listed[0]):
        git.git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", remote, REF)
    return listed[0]
