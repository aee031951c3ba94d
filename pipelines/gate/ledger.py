"""The ledger of judgements as Git knows it: `refs/longtail/ledger`, a chain of commits with one entry in each message.

Entries are only ever added. A machine adds to the ref by compare-and-set. With a remote, the remote's chain gives the
order: entries that it lacks are put on top of it, here as there, so that machines that were offline lose nothing. Every
commit carries its position, which tells a chain that was cut (by a shallow clone, say) from one that is short.
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
FIELD, END = "\x1f", "\x1e"  # JSON escapes both
REMEDY = f"fetch it from where it is whole, `git fetch --unshallow REMOTE` or `git fetch REMOTE +{REF}:{REF}`"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Common(BaseModel):
    """Fields of every entry; those of newer versions are kept as they are."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    artifact: str
    environment: str
    epoch: str | None  # the version whose promotion the epoch began with; null: before the first one
    by: str
    at: str
    run: str | None  # of Airflow


class Judgement(Common):
    """A candidate that a policy has judged on a holdout; of `what-if`, a policy that was only tried."""

    kind: Literal["judgement", "what-if"]
    judgement: Sha256  # of the candidate, the policy, the champion and the holdout: the same ones are one attempt
    number: Annotated[int, Field(ge=1)]
    line: Annotated[int, Field(ge=0)]
    rule: Literal["spend", "count"]
    level: Annotated[float, Field(ge=0, lt=0.5)]
    verdict: Literal["PROMOTE", "HOLD", "REJECT"]
    champion: str | None  # version
    digests: dict[str, Sha256]
    policy: Sha256
    split: dict[str, Any]
    window: Annotated[list[str], Field(min_length=2, max_length=2)] | None  # first and last moment of test
    settings: dict[str, Any]  # of the model, in short


class Lost(Common):
    """A person's word that the history before is gone for good."""

    kind: Literal["lost"]
    judgement: Sha256  # of the newest release, which the ledger should hold and does not
    reason: str


Entry = Annotated[Judgement | Lost, Field(discriminator="kind")]
ENTRY: TypeAdapter[Judgement | Lost] = TypeAdapter(Entry)


class DamagedError(ValueError):
    """The chain is not one that was only ever added to."""


@dataclass(frozen=True)
class Ledger:
    """The entries in their order, and the commit of the last one."""

    tip: str | None
    entries: tuple[Judgement | Lost, ...]


def read() -> Ledger:
    """The ledger as it is known here; empty where the ref is missing. Raises DamagedError."""
    tip = git.commit_of(REF)
    return Ledger(tip, () if tip is None else chain(tip, "here"))


def chain(tip: str, where: str) -> tuple[Judgement | Lost, ...]:
    """The entries up to a commit; raises DamagedError where one is missing or cannot be read."""
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
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            raise damaged(where, commit, f"its message is not an entry of version 1 ({said})") from None
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
    """Add an entry after the last one; False where another process was faster."""
    tip = extended(ledger.tip, len(ledger.entries), [entry])
    try:
        git.move_ref(REF, tip, ledger.tip)
    except git.GitError:
        if git.commit_of(REF) != ledger.tip:
            return False
        raise
    return True


def extended(tip: str | None, length: int, entries: Sequence[Judgement | Lost]) -> str:
    """The last of new commits on top of a chain of some length, one for each entry; no ref points to it yet."""
    empty = git.git("mktree", stdin=b"")
    for sequence, entry in enumerate(entries, start=length + 1):
        body = json.dumps({"sequence": sequence, "entry": json.loads(text_of(entry))}, indent=1, sort_keys=True)
        what = f"{entry.kind} {entry.number}: {entry.verdict}" if isinstance(entry, Judgement) else entry.kind
        tip = git.commit_tree(empty, parent=tip, message=f"{what}\n\n{body}")
    if tip is None:
        raise ValueError("no entry was given; expected at least one")
    return tip


def text_of(entry: Judgement | Lost) -> str:
    """The entry as canonical JSON, by which machines find that they hold the same."""
    return json.dumps(entry.model_dump(mode="json"), sort_keys=True)


def synchronize(remote: str) -> None:
    """Let both chains, the one here and that of a Git remote, hold the entries of both.

    Raises GitError where the remote cannot be reached or refuses, DamagedError where a chain is damaged.
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
    """The last commit of a remote's chain, fetched; None where the remote has none."""
    listed = git.git("ls-remote", remote, REF).split()
    if not listed:
        return None
    if not git.has(listed[0]):
        git.git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", remote, REF)
    return listed[0]
