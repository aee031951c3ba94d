"""Deployment of the version that serves now, whichever promotion asked for it; the server is a stand-in."""

from __future__ import annotations

import pytest

from pipelines.orchestration import deployment
from pipelines.release import release
from tests.pipelines.releases import Checkout

pytestmark = pytest.mark.slow  # Git and DVC for real


def test_nothing_is_deployed_before_the_first_promotion(checkout: Checkout) -> None:
    assert deployment.deploy(None) == {"skip": "no version serves yet; run `longtail promote` first"}


def test_the_version_that_serves_now_is_deployed(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()
    serving = {"v1.0.0": "longtail:1", "v2.0.0": "longtail:2"}
    monkeypatch.setattr(deployment, "answers", lambda url: serving["v2.0.0"])
    assert deployment.deploy(None)["version"] == "v2.0.0"
    release.rollback()
    monkeypatch.setattr(deployment, "answers", lambda url: serving["v1.0.0"])
    assert deployment.deploy(None)["version"] == "v1.0.0"
