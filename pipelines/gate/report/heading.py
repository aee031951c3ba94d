"""Head of both reports: the meaning of the verdict, and what was judged when on which data."""

from __future__ import annotations

from datetime import UTC, datetime

from models.gate.rules import percent
from pipelines.artifacts import best_releases
from pipelines.gate.report import outcomes
from pipelines.gate.report.content import Content

SHORT = 12  # characters of a digest
MEANING = {
    "PROMOTE": "The candidate may replace what serves now.",
    "HOLD": "Undecided: the candidate must not serve before it is judged again.",
    "REJECT": "The candidate must not serve.",
}


def title(content: Content) -> str:
    """Return the title of the page, which tells reports apart in tabs and bookmarks."""
    return f"{content.verdict['verdict']} – gate report of candidate {candidate(content)}"


def judged_at(content: Content) -> str:
    """Return the time of the first judgement, which repetitions share."""
    if content.judged_at is None:
        return "at an unknown time, outside a Git checkout"
    try:
        return f"{datetime.fromisoformat(content.judged_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:  # an entry that another program has made
        return "at an unknown time"


def candidate(content: Content) -> str:
    model: str = content.verdict["digests"]["model"]
    return model[:SHORT]


def facts(content: Content) -> dict[str, str]:
    """Return names and values."""
    verdict = content.verdict
    champion, model = verdict["champion"]["version"] or "none yet", verdict["champion"].get("model_sha256")
    return {
        "candidate": f"model {candidate(content)}",
        "champion": champion + (f", model {model[:SHORT]}" if model else ""),
        **({"best release": best} if (best := best_releases.words(verdict["champion"])) else {}),
        "data": content.data.source,
        "rules": outcomes.count(verdict["rules"]),
        "users judged": f"{verdict['n_users']:,}",
        "confidence, one-sided": percent(verdict["confidence"]),
        "correction of rejections": "Holm" if verdict["correction"] == "holm" else "none",
    }
