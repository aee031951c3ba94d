"""Sentences about attempts: the position of a judgement on its holdout, and the ways to renew the level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from models.gate import attempts
from models.gate.attempts import Place
from models.gate.rules import percent
from pipelines.gate.ledger import Judgement
from pipelines.gate.position import History, holdout_of
from pipelines.privacy.markdown import plain

SHOWN = 20  # latest judgements that a report lists
HEAD = ("judgement", "verdict", "level", "model", "settings", "by", "when", "run")
Record = Mapping[str, Any]


def sentences(verdict: Record) -> list[str]:
    """Return sentences on the position of a verdict, its level, and judgements that could not be counted."""
    attempt = verdict["attempt"]
    since = f"since {attempt['epoch']} was promoted" if attempt["epoch"] else "before any promotion"
    found = [f"Judgement {attempt['number']} of this holdout {since}."]
    if others := ", ".join(f"{n} {name}" for name, n in attempt["earlier"].items() if n):
        by = ", ".join(map(name_of, attempt["by"]))
        found.append(f"Candidates judged in the same time before, on any holdout: {others}, by {by}.")
    if attempt["line"]:
        found.append(
            f"The data was split in {attempt['line']} other ways before, each of which leaves less to the next."
        )
    if attempt["what_if"]:
        found.append(f"Policies that were only tried (`--what-if`), and do not count: {attempt['what_if']}.")
    return [*found, required(verdict), *(f"Note: {name_of(note)}." for note in attempt["notes"])]


def required(verdict: Record) -> str:
    """Return a sentence on the level for passing."""
    attempt, nominal = verdict["attempt"], percent(verdict["confidence"])
    if attempt["rule"] == "count":
        return f"Every judgement has to meet {nominal}, as gate.attempts says: the best of many passes by luck."
    if verdict["passing"] is None:
        return f"To pass, a rule had to hold with {nominal} confidence, as for every first candidate."
    confident = f"{(1 - attempt['level']) * 100:.6g} %"
    return f"To pass, a rule had to hold with {confident} confidence instead of {nominal}: others were judged before."


def name_of(text: str) -> str:
    """Return a foreign name or sentence in one line of printable characters."""
    return "".join(sign if sign.isprintable() else " " for sign in text)[:300]


def renewal(verdict: Record, holdout: Record, entries: Sequence[Judgement], *, lines: int) -> list[str]:
    """Return the ways to restart the count, if levels are spent.

    entries: the judgements that count with this one, itself included. lines: number of splits of the data so far.
    """
    if verdict["attempt"]["rule"] == "count":
        return []
    ways = ["A promotion starts the count anew."]
    windows = [entry.window for entry in entries if entry.window is not None]
    if holdout["cutoffs"] and windows:
        ways.append(by_time(holdout, windows))
    elif not holdout["cutoffs"]:
        spent = attempts.level(Place(1, lines), alpha=1 - verdict["confidence"], half=1)
        ways.append(
            "Later data does not renew a holdout that was split by hash, where pairs keep their place. Another "
            f"split.seed does, at its price: its first candidate has to meet {(1 - spent) * 100:.6g} % confidence, and "
            "the champion was trained on pairs of it, so that rules against the champion are held (or left out once, "
            "by gate.seen_holdout: skip)."
        )
    return ways


def by_time(holdout: Record, windows: Sequence[Sequence[str]]) -> str:
    """Return a sentence on the date of a test set without these pairs, at the rate of events in the present one."""
    n_events = sum(holdout[f"n_{part}"] for part in ("train", "valid", "test"))
    first, last = (datetime.fromisoformat(moment) for moment in max(windows, key=lambda window: window[1]))
    needed = attempts.events_until_fresh(n_events, test=holdout["n_test"] / n_events)
    days = (last - first).total_seconds() / 86_400
    if days <= 0 or not holdout["n_test"]:
        return f"A test set without any of these events needs {needed:,.0f} further ones."
    wait = needed / (holdout["n_test"] / days)
    text = f"A test set without any of these events needs {needed:,.0f} further ones: at the rate of the latest one"
    try:
        return f"{text} they exist on {last + timedelta(days=wait):%Y-%m-%d}, {wait:,.0f} days after its last event."
    except OverflowError:
        return f"{text} that takes {wait:,.0f} days."


def same_holdout(verdict: Record, entries: Sequence[Judgement], mine: Judgement | None) -> list[Judgement]:
    """Return the entries with holdouts that share pairs with that of a judgement, its own last."""
    if mine is None:
        return list(entries)
    holdout = holdout_of(mine.split, mine.window)
    return [each for each in entries if attempts.counts(holdout_of(each.split, each.window), holdout)] + [mine]


def cells(entries: Sequence[Judgement]) -> Iterator[list[str]]:
    """Return a row per judgement, with the settings that differ between them."""
    keys = dict.fromkeys(key for entry in entries for key in entry.settings)
    differ = [key for key in keys if len({str(entry.settings.get(key)) for entry in entries}) > 1]
    for entry in entries:
        varied = ", ".join(f"{key} {entry.settings.get(key, '–')}" for key in differ)
        yield [
            place_of(entry),
            entry.verdict,
            f"{entry.level * 100:.3g} %",
            entry.digests.get("model", "")[:8],
            name_of(varied) or "the same",
            name_of(entry.by),
            name_of(entry.at)[:16].replace("T", " "),
            name_of(entry.run or ""),
        ]


def lines(verdict: Record, history: History) -> int:
    """Return the number of splits of the data in this epoch."""
    current: int = verdict["attempt"]["line"]
    return 1 + max([current, *(entry.line for entry in history.earlier)])


def place_of(entry: Judgement) -> str:
    return f"{entry.number} of split {entry.line + 1}" if entry.line else f"{entry.number}"


@dataclass(frozen=True)
class Section:
    """Section of the reports about the judgements of this holdout."""

    sentences: list[str]
    rows: list[list[str]]  # the latest judgements, a cell per name in `head`
    head: tuple[str, ...] = HEAD


def section(verdict: Record, holdout: Record, history: History) -> Section:
    shown = same_holdout(verdict, history.earlier, history.mine)
    renewals = renewal(verdict, holdout, shown, lines=lines(verdict, history))
    return Section([*sentences(verdict), *renewals], list(cells(shown[-SHOWN:])))


def markdown(section: Section) -> list[str]:
    rows = [f"| {' | '.join(plain(text) for text in row)} |" for row in section.rows]
    return [
        "## Attempts on this holdout", "", *(f"- {plain(text)}" for text in section.sentences), "",
        *([f"| {' | '.join(HEAD)} |", "|--:|---|--:|---|---|---|---|---|", *rows, ""] if rows else []),
    ]  # fmt: skip
