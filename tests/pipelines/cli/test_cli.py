from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipelines.artifacts import outputs
from pipelines.cli import main
from pipelines.cli.run import following
from tests.conftest import edit_params
from tests.pipelines.releases import Checkout, git, longtail, start

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in this process: exit status, standard output, standard error."""
    for key, value in main.QUIET.items():
        monkeypatch.setenv(key, value)

    def call(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            main.main(words)
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capfd.readouterr()
        return status, out, err

    return call


def error_of(result: tuple[int, str, str]) -> str:
    """The one line that an error is."""
    status, _, err = result
    assert status == 1
    assert err.startswith("longtail: error: ")
    assert err.count("\n") == 1
    return err


def test_help_names_every_command(run: Run) -> None:
    status, out, _ = run("--help")
    assert status == 0
    assert all(f"\n    {name} " in out for name in ("run", "promote", "rollback", "status", "lineage", "serve"))


def test_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version")[:2] == (0, "longtail 0.1.0\n")


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    status, _, err = run("publish")
    assert status == 2
    assert "invalid choice: 'publish'" in err


@pytest.mark.parametrize("command", ["run", "promote", "rollback", "status", "lineage", "serve"])
def test_outside_a_git_checkout_the_remedy_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "is not inside a Git checkout" in error_of(run(command))


def test_without_dvc_or_without_a_commit_the_remedy_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "--quiet")
    assert "run `dvc init`" in error_of(run("run"))
    (tmp_path / ".dvc").mkdir()
    assert "has no commit yet; run `git add . && git commit -m start`" in error_of(run("run"))


@pytest.mark.slow
def test_promote_status_rollback_lineage_speak_of_what_they_did(checkout: Checkout, run: Run) -> None:
    assert "serving    none yet in prod" in run("status")[1]
    checkout.candidate(1)
    assert "run `longtail promote` to serve it" in run("status")[1]
    assert run("promote")[:2] == (0, "longtail: v1.0.0 serves now, as the first version\n")
    assert run("promote")[:2] == (0, "longtail: v1.0.0 already serves this model\n")
    assert "the same model serves" in run("status")[1]
    checkout.candidate(2)
    assert run("promote")[:2] == (0, "longtail: v2.0.0 serves now, in place of v1.0.0\n")
    assert run("rollback")[:2] == (0, "longtail: v1.0.0 serves again, in place of v2.0.0\n")
    status, out, _ = run("status")
    assert status == 0
    assert "serving    v1.0.0 in prod, since " in out
    assert [line.split()[-1] for line in out.splitlines() if line.startswith("version")] == ["back", "prod"]


def test_status_says_what_changed_since_the_verdict(checkout: Checkout, run: Run) -> None:
    checkout.candidate(1)
    Path("pipelines/gate/new.py").write_text("# new\n")
    for command in ("status", "gate"):
        assert "stale: code changed since the verdict; `dvc repro` judges again" in run(command)[1]
    shutil.rmtree("data/train")
    assert "stale: data/train/model.safetensors is missing" in run("status")[1]


def test_status_says_that_the_bento_is_older_than_its_code(checkout: Checkout, run: Run) -> None:
    checkout.candidate(1)
    Path("bento/service.py").write_text("# edited\n")
    assert "`longtail promote` rejects it: bento/service.py changed after the Bento was built" in run("status")[1]


def test_status_says_that_a_verdict_is_damaged(checkout: Checkout, run: Run) -> None:
    checkout.candidate(1)
    verdict = Path("data/gate/verdict.json")
    verdict.write_text(verdict.read_text().replace("reason", "reasom"))
    status, out, _ = run("status")
    assert status == 0
    assert "candidate  unknown: data/gate/verdict.json is corrupted" in out


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("package", {"ready_timeout": 0}, "package.ready_timeout is 0"),
        ("ingest", {"path": "data/elsewhere"}, "ingest.path is data/elsewhere, which does not exist"),
        ("gate", {"rules": [{"name": "r", "metric": "ndgc@10", "min": 0.1}]}, "unknown metric 'ndgc@10'"),
        ("gate", {"rules": [{"name": "r", "metric": "ndcg@50", "min": 0.1}]}, "but evaluate.k is [10, 20]"),
        ("gate", {"rules": [{"name": "r", "metric": "ndcg@10", "min": 1.1}]}, "rule 'r' can never hold"),
    ],
)
def test_a_run_reads_all_settings_before_its_first_stage(
    checkout: Checkout, run: Run, section: str, change: dict[str, object], message: str
) -> None:
    edit_params(Path("params.yaml"), section, change)
    result = run("run")
    assert message in error_of(result)
    assert result[1] == ""


@pytest.mark.slow
def test_lineage_goes_back_to_data_settings_code_and_verdict(checkout: Checkout, run: Run) -> None:
    checkout.candidate(1)
    run("promote")
    settings = Path("params.yaml")
    settings.write_text(settings.read_text().replace("cg_steps: 3 ", "cg_steps: 4 "))
    Path("notes.txt").write_text("edited, not committed\n")
    model = checkout.candidate(2)
    run("promote")
    status, out, _ = run("lineage", "v2.0.0")
    assert status == 0
    lines = {line.strip() for line in out.splitlines()}
    head = git(checkout.root, "rev-parse", "HEAD")
    assert f"code       commit {head}: start" in lines
    assert any(line.startswith("with edits in notes.txt, params.yaml: `git diff") for line in lines)
    assert {"params     as of v1.0.0, but", "train.als.cg_steps: 3 -> 4", f"model      sha256 {model}"} < lines
    verdict = outputs.read_json(Path("data/gate/verdict.json"))
    first = verdict["rules"][0]
    assert {f"verdict    PROMOTE: {verdict['reason']}", f"pass            {first['name']}: {first['reason']}"} < lines
    assert any(line.startswith("data/ingest  md5 ") for line in lines)
    assert any(line.startswith("assigned to prod #2, ") for line in lines)
    assert "replaced   v1.0.0; `longtail lineage v1.0.0` shows its lineage" in lines
    assert run("lineage", "longtail:2")[1] == out  # the tag that served answers give


@pytest.mark.slow
def test_errors_are_one_line(checkout: Checkout, run: Run) -> None:
    assert "data/gate/verdict.json is missing; run `dvc repro gate`" in error_of(run("promote"))
    assert "no version serves yet" in error_of(run("rollback"))
    assert "no version serves yet" in error_of(run("lineage"))
    assert "no version is promoted yet" in error_of(run("serve"))
    checkout.candidate(1)
    run("promote")
    assert "'v7.0.0' is not registered; registered: v1.0.0" in error_of(run("lineage", "v7.0.0"))
    assert "no version has the Bento 'longtail:9'" in error_of(run("lineage", "longtail:9"))
    shutil.rmtree(".dvc/cache")
    assert "longtail.tar of v1.0.0 is neither in the DVC cache nor in a remote" in error_of(run("serve"))


def test_commands_work_from_a_folder_below(checkout: Checkout, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.candidate(1)
    monkeypatch.chdir("models")
    assert run("promote")[0] == 0


def test_what_to_try_next_compares_with_the_champion_where_there_is_one(checkout: Checkout) -> None:
    held = {"verdict": "HOLD", "champion": {"version": None}}
    assert following(held, promoted=False) == ["dvc metrics show", "dvc plots show"]
    held = {"verdict": "HOLD", "champion": {"version": "v2.0.0"}}
    differs = [f"dvc {what} diff longtail@v2.0.0" for what in ("metrics", "params", "plots")]
    assert following(held, promoted=False) == differs
    assert following(held, promoted=True) == ["longtail serve", "longtail lineage", differs[0]]


@pytest.mark.slow
def test_a_run_promotes_and_a_second_run_changes_nothing(checkout: Checkout) -> None:
    checkout.candidate(1)
    first = longtail(checkout.root, "run")
    assert first.returncode == 0, first.stderr
    assert "Stage 'train' didn't change" in first.stdout
    assert "beats popularity" in first.stdout
    assert "longtail: v1.0.0 serves now" in first.stdout
    assert f"report: {checkout.root}/data/gate/report.html" in first.stdout
    assert first.stdout.rstrip().splitlines()[-4] == "next:"
    lock = Path("dvc.lock").read_bytes()
    second = longtail(checkout.root, "run")
    assert second.returncode == 0, second.stderr
    assert "nothing changed since the last run" in second.stdout
    assert "v1.0.0 already serves this model" in second.stdout
    assert Path("dvc.lock").read_bytes() == lock


@pytest.mark.slow
def test_ending_a_run_ends_dvc_and_the_stage_as_ctrl_c_does(checkout: Checkout) -> None:
    Path("dvc.lock").unlink(missing_ok=True)
    waits = "touch started; sleep 600"
    Path("dvc.yaml").write_text(f"stages:\n  ingest:\n    cmd: {waits}\n    outs: [data/ingest]\n")
    process = start(checkout.root, "run")
    below: list[psutil.Process] = []
    while not any("sleep" in child.name() for child in below):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
        below = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "longtail: error: the pipeline stopped" in err
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []


@pytest.mark.slow
def test_a_run_fetches_the_champion_while_dvc_holds_its_lock(checkout: Checkout) -> None:
    checkout.candidate(1)
    longtail(checkout.root, "promote")
    checkout.candidate(2)
    shutil.rmtree("data/champion")
    assert not Path(".longtail").exists()
    done = longtail(checkout.root, "run", "--no-promote")
    assert done.returncode == 0, done.stderr
    assert "champion: v1.0.0" in done.stdout
    assert "not promoted, because of --no-promote" in done.stdout
    assert json.loads(Path("data/champion/champion.json").read_text())["version"] == "v1.0.0"
    assert git(checkout.root, "tag").splitlines() == ["longtail#prod#1", "longtail@v1.0.0"]


@pytest.mark.slow
@pytest.mark.parametrize("verdict", ["HOLD", "REJECT"])
def test_a_run_whose_candidate_is_refused_is_no_failure(checkout: Checkout, verdict: str) -> None:
    checkout.candidate(1, verdict=verdict, built=False)
    done = longtail(checkout.root, "run")
    assert done.returncode == 0, done.stderr
    assert f"not promoted: the verdict is {verdict}" in done.stdout
    assert git(checkout.root, "tag") == ""


@pytest.mark.slow
def test_a_run_after_a_rollback_leaves_the_older_version_serving(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        longtail(checkout.root, "promote")
    longtail(checkout.root, "rollback")
    checkout.candidate(2)
    done = longtail(checkout.root, "run")
    assert done.returncode == 0, done.stderr
    assert "not promoted: this model is v2.0.0, which was rolled back" in done.stdout


@pytest.mark.slow
def test_a_stage_that_fails_ends_the_run_with_one_more_line(checkout: Checkout) -> None:
    done = longtail(checkout.root, "run")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("longtail: error: the pipeline stopped (`dvc repro` exited 255)")
    assert "Traceback" not in done.stderr
