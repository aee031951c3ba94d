"""`longtail monitor`: compare the tail exposure of a server with the gate's figures from before the release."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import requests

from pipelines.privacy.shown import markup
from pipelines.registry import tags, version_files
from pipelines.settings.champion import Champion
from pipelines.settings.document import load

Decision = Literal["holds", "drift", "undecided"]
DRIFT = 3  # exit status; 1 is an error, 2 a wrong command line


@dataclass(frozen=True)
class Finding:
    what: str
    served: str
    expected: str
    decision: Decision
    reason: str


@dataclass(frozen=True)
class Limits:
    tolerance: float  # allowed relative deviation from the gate's figure
    max_fallback: float  # share of fallback lists
    confidence: float  # one-sided


def add_arguments(monitor: argparse.ArgumentParser) -> None:
    monitor.add_argument("--url", default="http://127.0.0.1:3000", help="address of the server (default: %(default)s)")
    monitor.add_argument(
        "--tolerance", type=share, default=0.2,
        help="allowed relative deviation from the gate's figure (default: %(default)s)",
    )  # fmt: skip
    monitor.add_argument(
        "--max-fallback", type=share, default=0.5,
        help="allowed share of fallback lists (default: %(default)s)",
    )  # fmt: skip


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a valid share, expected 0 to 1")
    return value


def run_monitor(arguments: argparse.Namespace) -> None:
    """Print a table of findings; the exit status is 3 if there is drift."""
    seen = ask(arguments.url)
    limits = Limits(arguments.tolerance, arguments.max_fallback, 0.95)
    findings = [*model(seen["model"], promoted()), *examine(seen["window"], seen["gate"], limits)]
    show(findings, seen)
    if any(finding.decision == "drift" for finding in findings):
        raise SystemExit(DRIFT)


def ask(url: str) -> dict[str, Any]:
    """Return the server's answer at /exposure; raises ValueError for any other answer."""
    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("LONGTAIL_API_KEY")) else {}
    try:
        response = requests.get(f"{url.rstrip('/')}/exposure", headers=headers, timeout=30)
    except requests.RequestException as error:
        raise ValueError(f"{url} does not answer ({type(error).__name__}); start it, or set another --url") from None
    try:
        found: dict[str, Any] = response.json()
        if response.status_code == 200 and found.keys() >= {"model", "window", "gate"}:
            return found
    except ValueError:
        pass
    raise ValueError(f"{url}/exposure answers {response.status_code}: {response.text[:200]}; is it a Longtail server?")


def promoted() -> str | None:
    """Return the tag of the promoted version's Bento."""
    version = tags.read(load(Champion)).serving
    return (
        None
        if version is None
        else str(version_files.document(version.name, version.commit, version_files.BENTO)["tag"])
    )


def model(served: str, expected: str | None) -> Iterator[Finding]:
    if expected is not None:
        same = served == expected
        reason = "the promoted model serves" if same else "the promoted model is another one"
        yield Finding("model", served, expected, "holds" if same else "drift", reason)


def examine(window: Mapping[str, Any], gate: Mapping[str, Any], limits: Limits) -> Iterator[Finding]:
    """Compare the served figures with the gate's."""
    lists = window["lists"]
    yield exposure(window, gate["tail_share"], limits)
    yield coverage(window, gate["tail_coverage"], limits)
    if lists:
        value = window["fallback_share"]
        decision: Decision = "drift" if value > limits.max_fallback and lists >= 100 else "holds"
        yield Finding(
            "fallback lists", percent(value), f"at most {percent(limits.max_fallback)}", decision,
            f"share of the last {lists:,} lists",
        )  # fmt: skip


def exposure(window: Mapping[str, Any], judged: float | None, limits: Limits) -> Finding:
    """Compare the mean tail share of lists; a deviation within its sampling error is no drift."""
    what = "tail exposure share"
    if judged is None or window["tail_share"] is None:
        reason = "the gate did not measure it" if judged is None else "nothing was served yet"
        return Finding(what, percent(window["tail_share"]), percent(judged), "undecided", reason)
    value, slack = window["tail_share"], NormalDist().inv_cdf(limits.confidence) * window["tail_share_error"]
    low, high = judged * (1 - limits.tolerance), judged * (1 + limits.tolerance)
    expected = f"{percent(judged)}, {percent(low)} to {percent(high)}"
    interval = f"between {percent(value - slack)} and {percent(value + slack)} with {limits.confidence:.0%} confidence"
    if value + slack < low or value - slack > high:
        return Finding(what, percent(value), expected, "drift", interval)
    inside = low <= value - slack and value + slack <= high
    return Finding(what, percent(value), expected, "holds" if inside else "undecided", interval)


def coverage(window: Mapping[str, Any], judged: float | None, limits: Limits) -> Finding:
    """Compare tail coverage, which only grows with more lists: it is too low only once as many are served as judged."""
    what, value = "tail coverage", window["tail_coverage"]
    if judged is None or value is None:
        reason = "the gate did not measure it" if judged is None else "nothing was served yet"
        return Finding(what, percent(value), percent(judged), "undecided", reason)
    low = judged * (1 - limits.tolerance)
    expected = f"{percent(judged)}, at least {percent(low)}"
    reason = f"{window['distinct']:,} distinct lists, the gate judged {window['size']:,}"
    if value >= low:
        return Finding(what, percent(value), expected, "holds", reason)
    is_full = window["distinct"] >= window["size"]
    return Finding(what, percent(value), expected, "drift" if is_full else "undecided", reason)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def show(findings: list[Finding], seen: Mapping[str, Any]) -> None:
    from rich.console import Console  # most commands do not need it
    from rich.table import Table

    table = Table(title=f"{markup(str(seen['model']))}: the last {seen['window']['lists']:,} lists and the gate")
    for column in ("", "served", "expected", "decision", "because"):
        table.add_column(column)
    for finding in findings:
        texts = (finding.what, finding.served, finding.expected, finding.decision, finding.reason)
        table.add_row(*map(markup, texts))
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
