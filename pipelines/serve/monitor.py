"""`longtail monitor`: whether what a server shows of the tail is what the gate found before the model was released."""

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
    tolerance: float  # share of the gate's figure by which the served one may differ
    max_fallback: float  # share of lists without a history
    confidence: float  # one-sided


def add_arguments(monitor: argparse.ArgumentParser) -> None:
    monitor.add_argument("--url", default="http://127.0.0.1:3000", help="address of the server (default: %(default)s)")
    monitor.add_argument(
        "--tolerance", type=share, default=0.2,
        help="share of the gate's figure by which the served one may differ (default: %(default)s)",
    )  # fmt: skip
    monitor.add_argument(
        "--max-fallback", type=share, default=0.5,
        help="share of lists that no history may stand behind (default: %(default)s)",
    )  # fmt: skip


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share, expected 0 to 1")
    return value


def run_monitor(arguments: argparse.Namespace) -> None:
    """Print a table; exit status 3 where something has drifted."""
    seen = ask(arguments.url)
    limits = Limits(arguments.tolerance, arguments.max_fallback, 0.95)
    findings = [*model(seen["model"], promoted()), *examine(seen["window"], seen["gate"], limits)]
    show(findings, seen)
    if any(finding.decision == "drift" for finding in findings):
        raise SystemExit(DRIFT)


def ask(url: str) -> dict[str, Any]:
    """What the server says at /exposure; raises ValueError where it says nothing of the kind."""
    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get("LONGTAIL_API_KEY")) else {}
    try:
        response = requests.get(f"{url.rstrip('/')}/exposure", headers=headers, timeout=30)
    except requests.RequestException as error:
        raise ValueError(f"{url} does not answer ({type(error).__name__}); start it, or name another --url") from None
    try:
        found: dict[str, Any] = response.json()
        if response.status_code == 200 and found.keys() >= {"model", "window", "gate"}:
            return found
    except ValueError:
        pass
    raise ValueError(f"{url}/exposure answers {response.status_code}: {response.text[:200]}; is it a Longtail server?")


def promoted() -> str | None:
    """Tag of the Bento that the registry points to."""
    version = tags.read(load(Champion)).serving
    return (
        None
        if version is None
        else str(version_files.document(version.name, version.commit, version_files.BENTO)["tag"])
    )


def model(served: str, expected: str | None) -> Iterator[Finding]:
    if expected is not None:
        same = served == expected
        reason = "what is promoted serves" if same else "another model serves than is promoted"
        yield Finding("model", served, expected, "holds" if same else "drift", reason)


def examine(window: Mapping[str, Any], gate: Mapping[str, Any], limits: Limits) -> Iterator[Finding]:
    """The served figures beside the gate's."""
    lists = window["lists"]
    yield exposure(window, gate["tail_share"], limits)
    yield coverage(window, gate["tail_coverage"], limits)
    if lists:
        value = window["fallback_share"]
        decision: Decision = "drift" if value > limits.max_fallback and lists >= 100 else "holds"
        yield Finding(
            "lists without a history", percent(value), f"at most {percent(limits.max_fallback)}", decision,
            f"of the last {lists:,} lists",
        )  # fmt: skip


def exposure(window: Mapping[str, Any], judged: float | None, limits: Limits) -> Finding:
    """The mean over lists has a standard error: what chance alone explains is no drift."""
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
    """More lists can only cover more: enough is enough early, too little counts for as many lists as were judged."""
    what, value = "tail coverage", window["tail_coverage"]
    if judged is None or value is None:
        reason = "the gate did not measure it" if judged is None else "nothing was served yet"
        return Finding(what, percent(value), percent(judged), "undecided", reason)
    low = judged * (1 - limits.tolerance)
    expected = f"{percent(judged)}, at least {percent(low)}"
    reason = f"{window['distinct']:,} different lists of {window['size']:,} that the gate judged"
    if value >= low:
        return Finding(what, percent(value), expected, "holds", reason)
    is_full = window["distinct"] >= window["size"]
    return Finding(what, percent(value), expected, "drift" if is_full else "undecided", reason)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def show(findings: list[Finding], seen: Mapping[str, Any]) -> None:
    from rich.console import Console  # which most commands do not need
    from rich.table import Table

    table = Table(title=f"{markup(str(seen['model']))}: the last {seen['window']['lists']:,} lists beside the gate")
    for column in ("", "served", "expected", "decision", "because"):
        table.add_column(column)
    for finding in findings:
        texts = (finding.what, finding.served, finding.expected, finding.decision, finding.reason)
        table.add_row(*map(markup, texts))
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
