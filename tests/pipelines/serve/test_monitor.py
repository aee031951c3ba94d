"""`longtail monitor` tells drift from chance, and too little from both."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.serve import monitor
from pipelines.serve.monitor import Limits, examine, model
from tests.pipelines.releases import Checkout

LIMITS = Limits(tolerance=0.2, max_fallback=0.5, confidence=0.95)
GATE = {"k": 10, "lists": 200, "tail_share": 0.3, "tail_coverage": 0.5}
WINDOW = {
    "lists": 400, "distinct": 200, "size": 200, "fallback_share": 0.1,
    "tail_share": 0.3, "tail_share_error": 0.01, "tail_coverage": 0.5,
}  # fmt: skip
NOTHING = dict.fromkeys(WINDOW) | {"lists": 0, "distinct": 0, "size": 200}


def decisions(window: dict[str, Any], gate: dict[str, Any] | None = None) -> dict[str, str]:
    return {
        finding.what: finding.decision for finding in examine({**WINDOW, **window}, {**GATE, **(gate or {})}, LIMITS)
    }


def test_what_the_gate_found_holds() -> None:
    assert set(decisions({}).values()) == {"holds"}


@pytest.mark.parametrize(
    ("share", "error", "decision"),
    [
        (0.2, 0.01, "drift"),
        (0.4, 0.01, "drift"),  # more of the tail than was judged is another list than was judged
        (0.2, 0.05, "undecided"),  # as far off, but chance may explain it
        (0.25, 0.01, "undecided"),  # near the limit
        (0.27, 0.01, "holds"),
    ],
)
def test_exposure_drifts_only_where_chance_does_not_explain_it(share: float, error: float, decision: str) -> None:
    assert decisions({"tail_share": share, "tail_share_error": error})["tail exposure share"] == decision


@pytest.mark.parametrize(
    ("coverage", "distinct", "decision"),
    [(0.3, 200, "drift"), (0.3, 199, "undecided"), (0.4, 20, "holds"), (0.9, 200, "holds")],
)
def test_too_little_coverage_counts_for_as_many_lists_as_were_judged(
    coverage: float, distinct: int, decision: str
) -> None:
    assert decisions({"tail_coverage": coverage, "distinct": distinct})["tail coverage"] == decision


def test_many_lists_without_a_history_are_drift() -> None:
    assert decisions({"fallback_share": 0.6})["fallback lists"] == "drift"
    assert decisions({"fallback_share": 0.6, "lists": 50})["fallback lists"] == "holds"


def test_nothing_served_and_nothing_measured_decide_nothing() -> None:
    assert set(decisions(NOTHING).values()) == {"undecided"}
    assert decisions({}, {"tail_share": None, "tail_coverage": None})["tail coverage"] == "undecided"


def test_another_model_than_is_promoted_is_drift() -> None:
    assert [finding.decision for finding in model("longtail:a", "longtail:a")] == ["holds"]
    assert [finding.decision for finding in model("longtail:a", "longtail:b")] == ["drift"]
    assert list(model("longtail:a", None)) == []


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Answers every request with `server.answer`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(self.server.answer).encode())  # type: ignore[attr-defined]

        def log_message(self, *_: object) -> None:
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
    yield found
    found.shutdown()


@pytest.mark.slow
def test_drift_is_exit_status_3_with_a_table(
    checkout: Checkout, server: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{server.server_port}"
    server.answer = {"model": "longtail:a", "window": WINDOW, "gate": GATE}  # type: ignore[attr-defined]
    main.main(["monitor", "--url", url])
    assert "tail coverage" in capsys.readouterr().out
    drifted = {**WINDOW, "tail_share": 0.1}
    server.answer = {"model": "longtail:a", "window": drifted, "gate": GATE}  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as ended:
        main.main(["monitor", "--url", url])
    assert ended.value.code == monitor.DRIFT == 3
    assert "drift" in capsys.readouterr().out
    server.answer = {"hello": "world"}  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as ended:
        main.main(["monitor", "--url", url])
    assert ended.value.code == 1
    assert "is it a Longtail server?" in capsys.readouterr().err


@pytest.mark.slow
def test_a_server_that_is_not_there_is_said_in_one_line(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["monitor", "--url", "http://127.0.0.1:1"])
    assert "http://127.0.0.1:1 does not answer" in capsys.readouterr().err
