"""Inputs of `dvc plots` fit together: the definitions in dvc.yaml, the templates in .dvc/plots and a run's tables."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from dvc_render.vega import VegaRenderer
from ruamel.yaml import YAML

from pipelines.evaluate import stage as evaluate
from tests.conftest import REPO, Workspace
from tests.pipelines import holdouts
from tests.pipelines.holdouts import model

PLOTS: dict[str, dict[str, Any]] = {
    name: definition
    for plot in YAML(typ="safe").load((REPO / "dvc.yaml").read_text("utf-8"))["plots"]
    for name, definition in plot.items()
    if name != "Training"
}
TEMPLATES = REPO / ".dvc" / "plots"


def drawn(definition: dict[str, Any], *revisions: str) -> dict[str, Any]:
    """The specification that DVC makes of a definition's table, the same one at each revision."""
    ((path, y),) = definition["y"].items()
    x = definition["x"] if isinstance(definition["x"], str) else definition["x"][path]
    with Path(path).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    points = [row | {"rev": revision} for revision in revisions for row in rows]
    assert {x, y} <= set(rows[0])
    renderer = VegaRenderer(
        points,
        "plot",
        **definition | {"x": x, "y": y, "template_dir": str(TEMPLATES), "revs_with_datapoints": revisions},
    )
    specification: dict[str, Any] = renderer.get_filled_template()
    return specification


def fields(node: Any) -> set[str]:
    """Every field that a specification encodes."""
    if isinstance(node, list):
        return set().union(*map(fields, node))
    if not isinstance(node, dict):
        return set()
    own = {node["field"]} if isinstance(node.get("field"), str) else set()
    return own.union(*(fields(value) for name, value in node.items() if name != "data"))


@pytest.mark.parametrize("name", PLOTS)
def test_a_template_draws_fields_of_its_table_and_tells_revisions_apart(workspace: Workspace, name: str) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    evaluate.main()
    specification = drawn(PLOTS[name], "workspace", "longtail@v1.0.0")
    assert "<DVC_METRIC" not in json.dumps(specification)
    assert "rev" in fields(specification)
    made_by_itself = {"label"} if PLOTS[name]["template"] == "reranking" else set()
    assert fields(specification) - made_by_itself <= set(specification["data"]["values"][0])


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.json")), ids=lambda path: path.stem)
def test_a_template_is_used_and_can_be_moved_by_one_of_its_layers_alone(path: Path) -> None:
    assert path.stem in {definition["template"] for definition in PLOTS.values()}
    text = path.read_text("utf-8")
    assert text.count("<DVC_METRIC_ZOOM_AND_PAN>") == 1
    assert ("layer" in json.loads(text)) == ("params" not in json.loads(text))  # else Vega sees a signal twice


def test_titles_and_axes_say_at_which_k() -> None:
    for definition in PLOTS.values():
        said = " ".join(str(definition[name]) for name in ("x_label", "y_label", "title"))
        assert ("10" in said) != ("${evaluate.k[0]}" in said)
