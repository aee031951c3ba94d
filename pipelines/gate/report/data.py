"""Section on the data: its source, the rows of each input, and what validation found.

Examples of failing values stay in data/validate: reports are kept in Git, where a user's id could not be deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.privacy.markdown import cell, plain

Record = Mapping[str, Any]
KINDS = ("interactions", "items", "users", "tags")
INPUTS = ("input", "rows read", "accepted", "rejected", "reasons")
WARNINGS = ("warning", "found", "what to do")
DETAILS = "data/validate/report.html"


@dataclass(frozen=True)
class Data:
    source: str  # its name, with file or address, and the number of interactions
    size: str  # sentence on the tables that were made from it
    inputs: list[list[str]]  # a row per kind of input, in the columns `INPUTS`
    checks: str  # sentences on the result of validation
    warnings: list[list[str]]  # in the columns `WARNINGS`


def read(ingested: Record, validated: Record, settings: Record) -> Data:
    """Return the section from summary.json of ingest, report.json of validate, and section ingest of params.yaml."""
    warned = [check for check in validated["expectations"] if not check["success"]]
    return Data(
        source=f"{source(ingested['source'], settings)}: {ingested['n_pairs']:,} interactions",
        size=f"The accepted rows give {ingested['n_pairs']:,} interactions, one per user and item, of "
        f"{ingested['n_users']:,} users; the catalogue has {ingested['n_items']:,} items.",
        inputs=[row(kind, ingested[kind]) for kind in KINDS if kind in ingested],
        checks=" ".join(checks(validated)),
        warnings=[[about(check), check["found"].removeprefix("found "), check["remedy"]] for check in warned],
    )


def about(check: Record) -> str:
    """Return an expectation with its table; those of the profile compare all tables with the last good version."""
    name: str = check["name"]
    return name if check["table"] == "profile" else f"{check['table']}: {name}"


def source(name: str, settings: Record) -> str:
    """Return the name of a source and its place; the demo has none."""
    if name == "demo":
        return "demo catalogue, made by Longtail"
    return f"{name}, from {settings['url'] or settings['path']}"


def row(kind: str, count: Record) -> list[str]:
    reasons = sorted(count["reasons"].items(), key=lambda entry: (-entry[1], entry[0]))
    listed = ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in reasons)
    return [kind, *(f"{count[name]:,}" for name in ("read", "accepted", "rejected")), listed]


def checks(validated: Record) -> Iterator[str]:
    """Yield sentences on expectations that hold or warn, and on interactions that were left out."""
    n, warned, left_out = (validated[name] for name in ("n_expectations", "n_warnings", "n_quarantined"))
    yield f"{n - warned:,} of {n:,} expectations hold" + (f", {warned:,} failed with a warning." if warned else ".")
    if left_out:
        what = "interaction fails" if left_out == 1 else "interactions fail"
        yield f"{left_out:,} {what} expectations of params.yaml: left out of training and judgement."


def markdown(data: Data) -> list[str]:
    return [
        "## Data", "", f"- {data.size}",
        f"- validation: {data.checks} All are in {DETAILS}.",
        *(f"- warning: {'; '.join(plain(text) for text in warning)}" for warning in data.warnings),
        "", f"| {' | '.join(INPUTS)} |", "|---|--:|--:|--:|---|",
        *(f"| {' | '.join(map(cell, each))} |" for each in data.inputs), "",
    ]  # fmt: skip
