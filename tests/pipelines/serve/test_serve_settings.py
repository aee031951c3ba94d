"""`longtail serve`: the hosts it answers to, settings that are wrong, files that were added to a Bento in the store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pipelines.bentos import store
from pipelines.registry import tags
from pipelines.serve import memory
from pipelines.serve.supervisor import Supervisor
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from tests.conftest import REPO
from tests.pipelines.releases import Checkout
from tests.pipelines.served_versions import Serving, assign, register

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tag(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The current folder is a checkout of which a version serves."""
    root = tmp_path_factory.mktemp("settings") / "checkout"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for scope in ("GLOBAL", "SYSTEM"):
            patch.setenv(f"GIT_CONFIG_{scope}", os.devnull)
        patch.chdir(root)
        Checkout.create(root)
        found = register("v1.0.0", packaged)
        assign("v1.0.0")
        yield found


def started(*arguments: str, **settings: str) -> Serving:
    home = Path.cwd().parent
    env = {**os.environ, "PYTHONPATH": str(REPO), "BENTOML_HOME": str(home), **settings}
    return Serving(Path.cwd(), home, *arguments, env=env)


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("LONGTAIL_API_KEY", "", "LONGTAIL_API_KEY is set, but empty"),
        ("LONGTAIL_HOSTS", "http://shop.example", "LONGTAIL_HOSTS has the entry 'http://shop.example'"),
    ],
)
def test_a_wrong_setting_ends_the_server_and_is_not_held_against_the_version(
    tag: str, setting: str, value: str, words: str
) -> None:
    serving = started(**{setting: value})
    try:
        assert serving.process.wait(90) == 1
        assert f"longtail: error: {words}" in serving.text()
        assert "a setting of the server is wrong; see its log above" in serving.text()
        assert "Traceback" not in serving.text()
        assert memory.read(serving.port).refused is None
    finally:
        serving.end()


def test_a_server_on_all_interfaces_without_a_key_says_so_and_answers_to_loopback_alone(tag: str) -> None:
    serving = started("--host", "0.0.0.0")
    try:
        serving.wait_for(tag)
        assert "the server listens on 0.0.0.0 without an API key" in serving.text()
        answer = requests.get(f"{serving.url}/users", headers={"Host": "evil.test"}, timeout=10)
        assert answer.status_code == 421
        assert serving.stop() == 0
    finally:
        serving.end()


def test_a_file_that_was_added_to_a_bento_in_the_store_is_gone_once_it_serves(tag: str) -> None:
    planted = store.folder(Path.cwd().parent, tag) / "src/models/planted.py"
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text("raise SystemExit('planted')")
    serving = started()
    try:
        serving.wait_for(tag)
        assert not planted.exists()
        assert "without an API key" not in serving.text()  # it listens on loopback
    finally:
        serving.end()


def hosts(host: str) -> str | None:
    champion = load(Champion)
    supervisor = Supervisor(look=lambda: tags.read(champion), host=host, port=1)
    return supervisor.settings(None).get("LONGTAIL_HOSTS")


def test_the_host_to_listen_on_is_one_that_is_answered(tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGTAIL_HOSTS", raising=False)
    assert hosts("shop.example") == "shop.example"
    assert hosts("0.0.0.0") is None  # no request names it
    assert hosts("::") is None
    monkeypatch.setenv("LONGTAIL_HOSTS", "a.example,b.example")
    assert hosts("192.0.2.7") == "a.example,b.example,192.0.2.7"
