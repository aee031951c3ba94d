"""The Grafana dashboard and the alert rules, against the metrics of a running server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from pipelines.bentos.smoke import call, post
from tests import system
from tests.conftest import REPO
from tests.judged import ITEM_IDS, USER_IDS

FOLDER = REPO / "bento" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana" / "longtail.json").read_text("utf-8"))
RULES_FILE = FOLDER / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule for group in YAML(typ="safe").load(RULES_FILE.read_text("utf-8"))["groups"] for rule in group["rules"]
]
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS = [
    *(target["expr"] for target in TARGETS),
    *(annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]),
    *(rule["expr"] for rule in RULES),
]
METRIC = re.compile(r"\b(longtail_\w+)(?:{([^}]*)})?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")
OF_PROMETHEUS = {"job", "instance"}  # labels that the scrape adds


@pytest.fixture(scope="module")
def labels(url: str) -> dict[str, set[str]]:
    """Labels of each metric of a server that has answered requests of every kind."""
    post(url, "recommend", {"user_id": USER_IDS[0], "k": 10})
    call(url, "recommend", {"user_id": 7})
    post(url, "feedback", {"event_id": "dashboard", "user_id": "somebody", "item_id": ITEM_IDS[0], "kind": "like"})
    found: dict[str, set[str]] = defaultdict(set)
    for family in text_string_to_metric_families(requests.get(f"{url}/metrics", timeout=10).text):
        for sample in family.samples:
            found[sample.name] |= sample.labels.keys()
    return found


@pytest.mark.slow
def test_every_metric_and_label_of_dashboard_and_alerts_is_served(labels: dict[str, set[str]]) -> None:
    named = {name for expression in EXPRESSIONS for name, _ in METRIC.findall(expression)}
    assert sorted(named - labels.keys()) == []
    assert len(named) > 15
    for expression in EXPRESSIONS:
        known = set(OF_PROMETHEUS)
        for name, matchers in METRIC.findall(expression):
            assert set(MATCHER.findall(matchers)) <= labels[name] | OF_PROMETHEUS, expression
            known |= labels[name]
        grouped = {label.strip() for names in GROUPED.findall(expression) for label in names.split(",")}
        assert grouped <= known, expression


@pytest.mark.slow
def test_the_texts_of_dashboard_and_alerts_name_labels_that_exist(labels: dict[str, set[str]]) -> None:
    written = [(target["expr"], target["legendFormat"]) for target in TARGETS]
    written += [(rule["expr"], rule["annotations"]["summary"].replace("$labels.", "")) for rule in RULES]
    for expression, text in written:
        known = set(OF_PROMETHEUS).union(*(labels[name] for name, _ in METRIC.findall(expression)))
        assert set(re.findall(r"{{\s*(\w+)\s*}}", text)) <= known, text


def test_panels_are_described_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [panel["title"] for panel in panels if not panel["description"]] == []
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_an_alert_says_in_a_sentence_what_it_means_and_what_to_do() -> None:
    for rule in RULES:
        assert re.fullmatch(r"[^\n]+: [^\n]+\.", rule["annotations"]["summary"]), rule["alert"]
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 10


@pytest.mark.parametrize("file", ["alerts.yml", "alerts_test.yml"])
def test_promtool_accepts_the_rules(file: str, tmp_path: Path) -> None:
    """Alerts fire, and stay quiet, on the series of alerts_test.yml."""
    promtool = system.program("promtool")
    for path in (RULES_FILE, Path(__file__).with_name("alerts_test.yml")):
        shutil.copy(path, tmp_path)
    how = ["test", "rules"] if file == "alerts_test.yml" else ["check", "rules"]
    result = subprocess.run(
        [promtool, *how, file], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
