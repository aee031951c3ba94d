"""Keep tags of the project, `v0.1.0`, apart from those of the registry, `longtail@v1.0.0`."""

from __future__ import annotations

import pytest
from gto.api import show

from pipelines.registry import tags
from pipelines.release import lineage, release
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from tests.pipelines.releases import Checkout, commit, git

pytestmark = pytest.mark.slow  # Git and DVC for real


@pytest.fixture
def tagged(checkout: Checkout) -> Checkout:
    """A checkout with project versions of which one bears the name of the first model version, on another commit."""
    who = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    git(checkout.root, *who, "tag", "--annotate", "--message=Longtail 0.1.0", "v0.1.0")
    (checkout.root / "notes.txt").write_text("later\n")
    commit(checkout.root, "later")
    for name in ("v1.0.0", "v7.0.0"):
        git(checkout.root, *who, "tag", "--annotate", f"--message=Longtail {name}", name)
    return checkout


def test_before_any_promotion_they_register_nothing(tagged: Checkout) -> None:
    registry = tags.read(load(Champion))
    assert registry.versions == {}
    assert registry.serving is None
    assert registry.next_version() == "v1.0.0"
    assert "v0.1.0" not in "\n".join(lineage.status())


def test_promotion_status_lineage_and_rollback_go_by_the_tags_of_the_registry_alone(tagged: Checkout) -> None:
    before = {name: git(tagged.root, "rev-parse", name) for name in ("v0.1.0", "v1.0.0", "v7.0.0")}
    for seed in (1, 2):
        tagged.candidate(seed)
        tagged.promote()
    registry = tags.read(load(Champion))
    assert list(registry.versions) == ["v1.0.0", "v2.0.0"]
    assert registry.version("v1.0.0").commit == git(tagged.root, "rev-parse", "longtail@v1.0.0^{commit}")
    assert registry.version("v1.0.0").commit != git(tagged.root, "rev-parse", "v1.0.0^{commit}")
    assert release.rollback().version == "v1.0.0"
    said = "\n".join([*lineage.status(), *lineage.lineage("v1.0.0")])
    assert registry.version("v1.0.0").commit[:7] in said
    assert not any(name in said for name in ("v0.1.0", "v7.0.0", *(digest[:7] for digest in before.values())))
    assert {name: git(tagged.root, "rev-parse", name) for name in before} == before
    assert show(".", "longtail#prod")[0]["version"] == "v1.0.0"
    assert [entry["version"] for entry in show(".", "longtail")] == ["v2.0.0", "v1.0.0"]
