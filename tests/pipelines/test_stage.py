"""What a stage shows while it works, and how its errors end it."""

from __future__ import annotations

import itertools

import pytest

from pipelines import _stage


def shown(seconds_per_look: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    clock = itertools.count(step=seconds_per_look)
    monkeypatch.setattr("pipelines._stage.time.monotonic", lambda: next(clock))
    assert list(_stage.progress("train", iter("abcd"), total=4, unit="epochs")) == list("abcd")
    return capsys.readouterr().out.splitlines()


def test_what_is_done_at_once_shows_no_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(0.1, capsys, monkeypatch) == []


def test_long_work_shows_how_far_it_is_and_that_it_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shown(2.6, capsys, monkeypatch) == ["train: 2 of 4 epochs", "train: 4 of 4 epochs"]


def test_bad_input_ends_a_stage_with_one_line_and_status_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main() -> None:
        raise ValueError("k is 0,\n  expected 1 or more")

    monkeypatch.delenv("LONGTAIL_DEBUG", raising=False)
    with pytest.raises(SystemExit) as end:
        _stage.run(main, "evaluate")
    assert end.value.code == 1
    assert capsys.readouterr().err == "evaluate: error: k is 0, expected 1 or more\n"
