from __future__ import annotations

from pipelines import _registry, _release
from pipelines._params import Champion, load
from tests.pipelines.releases import Checkout, git


def serving() -> str | None:
    version = _registry.read(load(Champion)).serving
    return version.name if version else None


def tags(checkout: Checkout) -> list[str]:
    return git(checkout.root, "tag").splitlines()


def test_the_first_promotion_registers_and_assigns_v1(checkout: Checkout) -> None:
    checkout.candidate(1)
    outcome = _release.promote()
    assert outcome.changed
    assert serving() == outcome.version == "v1.0.0"
    assert tags(checkout) == ["longtail#prod#1", "longtail@v1.0.0"]
