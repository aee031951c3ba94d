"""A Bento that `bentoml export` and `bentoml import` carried elsewhere: it serves, and verifies itself there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.bentos import store as bentos
from pipelines.bentos.smoke import post, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def elsewhere(store: Path, tag: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store into which the Bento was imported that another one exported."""
    archive, home = tmp_path_factory.mktemp("export") / "moved.tar", tmp_path_factory.mktemp("elsewhere")
    bentos.run("export", tag, str(archive), env=bentos.environment(store))
    bentos.run("import", str(archive), env=bentos.environment(home))
    return home


def test_it_serves_as_the_same_model(elsewhere: Path, tag: str) -> None:
    with serving(tag, home=elsewhere, timeout=60) as url:
        assert post(url, "model_info", {})["model"] == tag


def test_a_file_changed_on_the_way_is_named_and_nothing_is_served(elsewhere: Path, tag: str) -> None:
    name = "bento/pages/explorer_page/explorer.js"  # the page is as much a part of it as the model
    path = bentos.folder(elsewhere, tag) / "src" / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ValueError, match=rf"{name} of {tag} was changed"), serving(tag, home=elsewhere, timeout=60):
        raise AssertionError("it served")
