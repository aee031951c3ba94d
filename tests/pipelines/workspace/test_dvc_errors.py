"""DVC's exceptions, as real repositories raise them, in sentences that say what to do."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo

from pipelines.runtime.console import TemporaryError
from pipelines.workspace import dvc_errors, dvc_stage
from tests.pipelines.releases import Checkout

pytestmark = pytest.mark.slow  # Git and DVC for real


class Unavailable(http.server.BaseHTTPRequestHandler):
    """Answer as a server that is overloaded."""

    def do_GET(self) -> None:
        self.send_error(503)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def overloaded() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/remote"
        server.shutdown()


def remote(url: str) -> None:
    with Path(".dvc/config.local").open("a", encoding="utf-8") as file:
        file.write(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n")


def lose_cache() -> None:
    shutil.rmtree(".dvc/cache")
    shutil.rmtree("data/train")


def test_data_that_is_nowhere_is_named_with_what_to_do_and_not_tried_again(checkout: Checkout) -> None:
    checkout.candidate(1)
    lose_cache()
    with (
        pytest.raises(ValueError, match=r"promote: data/train: DVC's cache has lost this, .* trigger a new run"),
        dvc_errors.translated("promote", remote=False),
        Repo() as repo,
    ):
        dvc_stage.fetch(repo, ["train"], shared=False)


@pytest.mark.parametrize("how", ["pull", "push"])
def test_a_remote_that_is_overloaded_may_be_back_at_the_next_attempt(
    checkout: Checkout, overloaded: str, how: str
) -> None:
    checkout.candidate(1)
    remote(overloaded)
    if how == "pull":
        lose_cache()
    with (
        pytest.raises(TemporaryError) as raised,
        dvc_errors.translated("train", remote=True),
        Repo() as repo,
    ):
        getattr(repo, how)(targets=["train"])
    assert "dvc.org" not in str(raised.value)


def test_a_remote_of_an_unknown_kind_is_a_matter_of_settings(checkout: Checkout) -> None:
    checkout.candidate(1)
    remote("gopher://example.org/x")
    with (
        pytest.raises(ValueError, match=r"DVC cannot use its remote: .*check `dvc remote list`") as raised,
        dvc_errors.translated("train", remote=True),
        Repo() as repo,
    ):
        repo.push(targets=["train"])
    assert not isinstance(raised.value, OSError)


def test_the_cause_is_told_once_in_one_line() -> None:
    error = RuntimeError("first line\nsecond")
    error.__cause__ = RuntimeError("why <https://error.dvc.org/x>")
    assert dvc_errors.brief(error) == "first line second: why"
