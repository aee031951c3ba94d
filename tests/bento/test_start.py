"""The start of `bentoml serve`: wrong settings end it in one line, and what is open to others is said."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from pipelines.bentos import smoke
from tests.judged import ITEM_IDS, USER_IDS

pytestmark = pytest.mark.slow
UNGUARDED = "without an API key: anyone who reaches this address can read user histories and report events"


@pytest.fixture
def home(store: Path, tmp_path: Path) -> Path:
    return shutil.copytree(store, tmp_path / "store")


def log(home: Path) -> str:
    return (home / "server.log").read_text("utf-8")


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        (
            "LONGTAIL_API_KEY",
            "",
            "LONGTAIL_API_KEY is set, but empty: set it to the key that requests must send, or unset",
        ),
        ("LONGTAIL_API_KEY", " \t", "LONGTAIL_API_KEY is set, but blank"),
        ("LONGTAIL_API_KEY", "secret\n", "LONGTAIL_API_KEY begins or ends with whitespace"),
        ("LONGTAIL_HOSTS", "https://shop.example", "LONGTAIL_HOSTS has the entry 'https://shop.example'"),
        ("LONGTAIL_CORS_ORIGINS", "*", "LONGTAIL_CORS_ORIGINS has the entry '*'"),
    ],
)
def test_a_wrong_setting_ends_the_start_in_one_line(home: Path, tag: str, setting: str, value: str, words: str) -> None:
    with (
        pytest.raises(ValueError, match="exited with status 1 before it was ready") as error,
        smoke.serving(tag, home=home, timeout=60, settings={setting: value}),
    ):
        raise AssertionError("it served")
    assert f"longtail: error: {words}" in str(error.value)
    assert "Traceback" not in log(home)


@pytest.mark.parametrize(
    ("host", "settings", "said"),
    [
        ("0.0.0.0", {}, True),
        ("127.0.0.1", {}, False),
        ("0.0.0.0", {"LONGTAIL_API_KEY": "secret"}, False),
    ],
)
def test_a_server_that_others_reach_without_a_key_says_so(
    home: Path, tag: str, host: str, settings: dict[str, str], said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listening_elsewhere(command: list[str], **options: Any) -> Any:
        return popen([host if part == "127.0.0.1" else part for part in command], **options)

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", listening_elsewhere)
    with smoke.serving(tag, home=home, timeout=60, settings=settings):
        assert (f"[WARNING] [entry_service:longtail:1] the server listens on {host} {UNGUARDED}" in log(home)) is said
        assert ("listens on" in log(home).replace("listening on", "")) is said


def test_any_host_is_served_where_a_star_is_named_and_the_log_says_what_that_means(home: Path, tag: str) -> None:
    with smoke.serving(tag, home=home, timeout=60, settings={"LONGTAIL_HOSTS": "*"}) as url:
        answer = requests.get(f"{url}/users", headers={"Host": "evil.test"}, timeout=10)
        assert answer.status_code == 200
        assert "LONGTAIL_HOSTS=* accepts any host" in log(home)


def test_named_hosts_are_served_beside_loopback_and_the_probes_by_any_host(home: Path, tag: str) -> None:
    with smoke.serving(tag, home=home, timeout=60, settings={"LONGTAIL_HOSTS": "shop.example"}) as url:

        def status(path: str, host: str) -> int:
            return requests.get(f"{url}/{path}", headers={"Host": host}, timeout=10).status_code

        assert [status("users", host) for host in ("shop.example", "SHOP.example:443", "localhost")] == [200, 200, 200]
        assert [status("users", host) for host in ("evil.test", "10.1.2.3:3000", "a.shop.example")] == [421, 421, 421]
        for probe in ("livez", "readyz", "healthz"):  # Kubernetes asks by the pod's address
            assert status(probe, "10.1.2.3:3000") == 200


def test_a_server_adds_nothing_to_its_files_that_would_keep_the_next_one_from_starting(home: Path, tag: str) -> None:
    event = {"event_id": "of two servers", "user_id": "visitor", "item_id": ITEM_IDS[0], "kind": "click"}
    for expected in ("stored", "duplicates"):
        with smoke.serving(tag, home=home, timeout=60) as url:
            assert smoke.post(url, "feedback", event)[expected] == 1
            assert smoke.post(url, "recommend", {"user_id": USER_IDS[0]})["items"]
