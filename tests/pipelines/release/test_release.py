from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gto.api import deregister, history, show

from pipelines.artifacts import outputs
from pipelines.orchestration import rollback_tasks
from pipelines.registry import tags, version_files
from pipelines.registry.champion import NONE, champion_of
from pipelines.registry.digests import digests
from pipelines.release import lineage, release
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import git as repository
from tests import made
from tests.conftest import edit_params
from tests.pipelines.releases import Checkout, commit, git, judge, package, record

pytestmark = pytest.mark.slow  # Git and DVC for real


def serving() -> str | None:
    version = tags.read(load(Champion)).serving
    return version.name if version else None


def refs(checkout: Checkout) -> str:
    return git(checkout.root, "for-each-ref")


def rewrite(path: Path, changes: dict[str, object]) -> None:
    """Change keys of a stage's JSON file as if the stage had written it so."""
    outputs.write_json(path, outputs.read_json(path) | changes)
    made.rewrite_manifest(path.parent)


def test_the_first_promotion_registers_and_assigns_v1(checkout: Checkout) -> None:
    checkout.candidate(1)
    outcome = release.promote()
    assert outcome.changed
    assert serving() == outcome.version == "v1.0.0"
    assert git(checkout.root, "tag").splitlines() == ["longtail#prod#1", "longtail@v1.0.0"]


def test_status_and_lineage_tell_who_approved_why_and_which_run_trained(checkout: Checkout) -> None:
    checkout.candidate(1)
    release.promote(why="approved by Ada:\n  before the holidays", run={"id": "manual__1", "note": "more epochs"})
    status, told = list(lineage.status()), list(lineage.lineage())
    assert status[0].endswith(": promote v1.0.0 as the first version, approved by Ada: before the holidays")
    assert status[1].strip() == "trained by the run manual__1: more epochs"
    assert any("assigned to prod #1" in line and "approved by Ada: before the holidays" in line for line in told)
    assert "run        trained by the run manual__1: more epochs" in told
    assert history(".")[0]["version"] == "v1.0.0"  # GTO reads a tag with such a message


def test_a_rollback_tells_by_whom_and_why(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()
    done = rollback_tasks.rollback("v1.0.0", "v2.0.0", "users complained", "Ada")
    assert done["text"] == "v1.0.0 serves again, in place of v2.0.0"
    assert next(lineage.status()).endswith(": rollback from v2.0.0 to v1.0.0, by Ada: users complained")
    again = rollback_tasks.rollback("v1.0.0", "v2.0.0", None, "Ada")
    assert again["text"] == "v1.0.0 already serves"
    assert not any("trained by" in line for line in lineage.status())  # promoted by the command line


def test_gto_reads_what_was_promoted_and_rolled_back(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()
    release.rollback()
    assert show(".", "longtail#prod")[0]["version"] == serving() == "v1.0.0"
    events = [(event["event"], event["version"]) for event in reversed(history("."))]
    assert [version for event, version in events if event == "assignment"] == ["v1.0.0", "v2.0.0", "v1.0.0"]
    assert [version for event, version in events if event == "registration"] == ["v1.0.0", "v2.0.0"]


def test_a_release_commit_holds_what_was_judged_and_dvc_reads_it(checkout: Checkout) -> None:
    model = checkout.candidate(1)
    checkout.promote()
    version = tags.read(load(Champion)).version("v1.0.0")
    assert git(checkout.root, "rev-parse", f"{version.commit}^") == git(checkout.root, "rev-parse", "HEAD")
    files = git(checkout.root, "ls-tree", "-r", "--name-only", version.commit).splitlines()
    assert {
        "dvc.lock",
        "dvc.yaml",
        "params.yaml",
        ".dvc/config",
        "models/inference/factors.py",
        "release/verdict.json",
    } < set(files)
    assert not any("__pycache__" in path for path in files)
    found = version_files.sha256_at(version.commit, [version_files.MODEL])
    assert found == {"data/train/model.safetensors": model}
    assert git(checkout.root, "rev-parse", "refs/longtail/releases/v1.0.0") == version.commit


def test_uncommitted_edits_are_released_and_stay_uncommitted(checkout: Checkout) -> None:
    Path("notes.txt").write_text("edited\n")
    Path("staged.txt").write_text("staged\n")
    Path("private.txt").write_text("untracked\n")
    Path("pipelines/added.py").write_text("# new and untracked\n")
    git(checkout.root, "add", "staged.txt")
    checkout.candidate(1)
    status, index = git(checkout.root, "status", "--porcelain"), Path(".git/index").read_bytes()
    release.promote()
    assert Path(".git/index").read_bytes() == index
    assert git(checkout.root, "status", "--porcelain") == status
    assert git(checkout.root, "show", "longtail@v1.0.0:notes.txt") == "edited"
    files = git(checkout.root, "ls-tree", "-r", "--name-only", "longtail@v1.0.0").splitlines()
    assert {"staged.txt", "pipelines/added.py"} < set(files)
    assert "private.txt" not in files


def test_a_detached_head_is_released_and_stays(checkout: Checkout) -> None:
    git(checkout.root, "checkout", "--quiet", "--detach")
    head = git(checkout.root, "rev-parse", "HEAD")
    checkout.candidate(1)
    checkout.promote()
    assert git(checkout.root, "rev-parse", "HEAD") == head
    assert Path(".git/HEAD").read_text().strip() == head


def test_no_identity_and_an_empty_home_are_enough(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER", "EMAIL"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "empty"))
    checkout.candidate(1)
    checkout.promote()
    assert tags.read(load(Champion)).version("v1.0.0").author


def test_promoting_twice_changes_nothing_the_second_time(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    before = refs(checkout)
    outcome = release.promote()
    assert (outcome.changed, outcome.version) == (False, "v1.0.0")
    assert "already serves" in outcome.text
    assert refs(checkout) == before


def test_a_second_candidate_replaces_the_first(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    assert outputs.read_json(Path("data/gate/verdict.json"))["champion"]["version"] == "v1.0.0"
    assert "in place of v1.0.0" in release.promote().text
    assert serving() == "v2.0.0"


@pytest.mark.parametrize("verdict", ["HOLD", "REJECT"])
def test_another_verdict_is_refused_with_its_reason(checkout: Checkout, verdict: str) -> None:
    checkout.candidate(1, verdict=verdict, built=False)
    before = refs(checkout)
    with pytest.raises(ValueError, match=f"the verdict is {verdict}, not PROMOTE: the hand-made verdict"):
        release.promote()
    assert refs(checkout) == before


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/train/model.safetensors", "model"),
        ("data/ingest/interactions.parquet", "data"),
        ("pipelines/gate/stage.py", "code"),
        ("params.yaml", "params"),
    ],
)
def test_what_changed_after_the_verdict_is_refused_by_name(checkout: Checkout, path: str, name: str) -> None:
    checkout.candidate(1)
    if name == "params":
        text = Path(path).read_text()
        Path(path).write_text(text.replace("  confidence: 0.95", "  confidence: 0.90"))
    else:
        with Path(path).open("ab") as file:
            file.write(b"#")
    before = refs(checkout)
    with pytest.raises(ValueError, match=f"^{name} changed after the verdict was given; run `dvc repro`"):
        release.promote()
    assert refs(checkout) == before


@pytest.mark.parametrize(("key", "name"), [("holdout_sha256", "split"), ("tail_sha256", "tail")])
def test_another_holdout_or_tail_is_refused_by_name(checkout: Checkout, key: str, name: str) -> None:
    checkout.candidate(1)
    rewrite(Path("data/split/holdout.json"), {key: "0" * 64})
    with pytest.raises(ValueError, match=f"^{name} changed after the verdict"):
        release.promote()


@pytest.mark.parametrize("remember", [False, True])
def test_metrics_edited_after_the_verdict_are_refused(checkout: Checkout, remember: bool) -> None:
    """Also where the file's manifest was made to match, and DVC told that all is well."""
    checkout.candidate(1)
    rewrite(Path("data/evaluate/metrics.json"), {"ndcg@10": 0.9})
    if remember:
        record()
    with pytest.raises(ValueError, match=r"^data/evaluate/metrics\.json changed after the verdict was given; run"):
        release.promote()
    assert serving() is None


def test_a_model_swapped_under_the_same_tag_is_refused(checkout: Checkout) -> None:
    """The archive of another model in place of the built one, its manifest made to match."""
    checkout.candidate(1)
    version_files.ARCHIVE.write_bytes(b"bento of 2")
    rewrite(Path("data/package/bento.json"), {})
    with pytest.raises(ValueError, match=r"dvc\.lock does not match data/package/longtail\.tar"):
        release.promote()
    assert serving() is None


def test_a_replayed_verdict_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    """All of data/gate as it was for an earlier candidate, whole and unedited."""
    checkout.candidate(1)
    shutil.copytree("data/gate", tmp_path / "gate")
    checkout.candidate(2, verdict="REJECT", built=False)
    shutil.rmtree("data/gate")
    shutil.copytree(tmp_path / "gate", "data/gate")
    package(2, built=True)
    record()
    with pytest.raises(ValueError, match=r"^model changed after the verdict was given"):
        release.promote()
    assert serving() is None


def with_verdict(verdict: dict[str, Any], seed: int) -> None:
    """Put a verdict in place of the gate's: manifests, Bento and dvc.lock made to match."""
    path = Path("data/gate/verdict.json")
    path.write_text(json.dumps(verdict))
    made.rewrite_manifest(path.parent)
    package(seed, built=True)
    record()


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda verdict: verdict["rules"].pop(), "rules differ"),
        (lambda verdict: verdict["rules"][0].update(value=float("nan")), "rules differ"),
        (lambda verdict: verdict["rules"][0].update(threshold=-1.0), "rules differ"),
        (lambda verdict: verdict.update(reason="forged"), "reason differ"),
        (
            lambda verdict: [
                rule.update(decision="not_applicable", effect=None, interval=None, p_pass=None, p_fail=None)
                for rule in verdict["rules"]
                if rule["reference"] == "champion"
            ],
            "rules differ",
        ),
        (lambda verdict: verdict["champion"].update(model_sha256="0" * 64), "model_sha256 of the champion in"),
    ],
)
def test_a_forged_verdict_is_refused(checkout: Checkout, edit: Callable[[dict[str, Any]], object], what: str) -> None:
    """Also where manifests, Bento and dvc.lock were made to match."""
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    verdict = outputs.read_json(Path("data/gate/verdict.json"))
    edit(verdict)
    with_verdict(verdict, 2)
    with pytest.raises(ValueError, match=rf"{what}.*run `dvc repro"):
        release.promote()
    assert serving() == "v1.0.0"


def of_earlier_gate(content: bytes) -> bytes:
    """A verdict.json as the gate wrote it when it drew resamples of users (schema_version 1)."""
    verdict = json.loads(content)
    del verdict["passing"], verdict["attempt"]
    for rule in verdict["rules"]:
        for name in ("p_pass", "p_fail", "users_needed"):
            del rule[name]
        rule["p_violated"] = 0.9
    return json.dumps(verdict | {"schema_version": 1, "resamples": 1000, "seed": 42, "min_users": 100}).encode()


def test_a_version_that_an_earlier_gate_judged_is_compared_with_described_and_rolled_back_to(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, snapshot = checkout.candidate(1), repository.snapshot
    with monkeypatch.context() as patch:

        def earlier(*, files: dict[str, bytes], **other: Any) -> str:
            verdict = of_earlier_gate(files[version_files.VERDICT])
            bento = json.loads(files[version_files.BENTO]) | {"verdict_sha256": hashlib.sha256(verdict).hexdigest()}
            changed = {version_files.VERDICT: verdict, version_files.BENTO: json.dumps(bento).encode()}
            return snapshot(**other, files=files | changed)

        patch.setattr(repository, "snapshot", earlier)
        release.promote()
    released = git(checkout.root, "show", "longtail@v1.0.0:release/verdict.json")
    assert json.loads(released)["schema_version"] == 1
    assert champion_of(tags.read(load(Champion)), first) == NONE  # as it was judged
    checkout.candidate(2)
    assert release.promote().version == "v2.0.0"
    assert outputs.read_json(Path("data/gate/verdict.json"))["champion"]["version"] == "v1.0.0"
    described = "\n".join(lineage.lineage("v1.0.0"))
    assert all(rule["reason"] in described for rule in json.loads(released)["rules"])
    release.rollback()
    assert serving() == "v1.0.0"


def test_a_candidate_that_an_earlier_gate_judged_is_judged_again_before_it_is_promoted(checkout: Checkout) -> None:
    checkout.candidate(1)
    with_verdict(json.loads(of_earlier_gate(Path("data/gate/verdict.json").read_bytes())), 1)
    assert any("has schema_version 1, expected 2" in line for line in lineage.status())
    with pytest.raises(ValueError, match=r"an earlier version of the gate wrote it; run `dvc repro --force .* gate`"):
        release.promote()
    assert serving() is None


def test_an_edited_verdict_is_refused(checkout: Checkout) -> None:
    checkout.candidate(1, verdict="REJECT")
    path = Path("data/gate/verdict.json")
    path.write_text(path.read_text().replace("REJECT", "PROMOTE"))
    with pytest.raises(ValueError, match=r"verdict\.json is corrupted"):
        release.promote()


def test_a_flipped_byte_in_the_bento_is_refused(checkout: Checkout) -> None:
    checkout.candidate(1)
    path = version_files.ARCHIVE
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"longtail\.tar is corrupted"):
        release.promote()


def test_a_candidate_without_a_bento_is_refused(checkout: Checkout) -> None:
    checkout.candidate(1, built=False)
    with pytest.raises(ValueError, match="this model has no Bento: not built by hand"):
        release.promote()


def test_a_bento_of_another_verdict_or_model_is_refused(checkout: Checkout) -> None:
    checkout.candidate(1)
    path = Path("data/package/bento.json")
    rewrite(path, {"verdict_sha256": "0" * 64})
    with pytest.raises(ValueError, match="belongs to another verdict"):
        release.promote()
    package(1, built=True)
    rewrite(path, {"digests": digests() | {"model": "0" * 64}})
    with pytest.raises(ValueError, match="differs in model from the judged model"):
        release.promote()


@pytest.mark.parametrize("remember", [False, True])
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda: Path("bento/service.py").write_text("# edited\n"), r"bento/service\.py"),
        (lambda: Path("bento/added.py").write_text("# new\n"), r"bento/added\.py"),
        (lambda: Path("bento/service.py").unlink(), r"bento/service\.py"),
        (lambda: edit_params(Path("params.yaml"), "package", {"encoder": "int8"}), r"params\.yaml: package"),
    ],
)
def test_a_bento_older_than_its_code_or_settings_is_refused(
    checkout: Checkout, edit: Callable[[], object], message: str, remember: bool
) -> None:
    """Also where DVC was told that all is well."""
    checkout.candidate(1)
    edit()
    if remember:
        record()
    with pytest.raises(ValueError, match=f"^{message} changed after the Bento was built; run `dvc repro package`"):
        release.promote()
    assert serving() is None


def test_a_command_edited_after_it_was_run_is_refused(checkout: Checkout) -> None:
    checkout.candidate(1)
    path = Path("dvc.yaml")
    path.write_text(path.read_text().replace("exit 1", "exit 2", 1))
    with pytest.raises(
        ValueError, match=r"^dvc\.yaml has a changed cmd of ingest, not yet run; run `dvc repro package`"
    ):
        release.promote()
    assert serving() is None


def test_a_verdict_against_a_former_champion_is_refused(checkout: Checkout) -> None:
    checkout.candidate(1)
    judged_before_anything_served = outputs.read_json(Path("data/gate/verdict.json"))["champion"]
    release.promote()
    checkout.candidate(2)
    judge("PROMOTE", judged_before_anything_served)
    package(2, built=True)
    record()
    with pytest.raises(
        ValueError, match=r"compared with no champion, but the champion is v1\.0\.0 now; run `dvc repro`"
    ):
        release.promote()
    assert serving() == "v1.0.0"


def decisions() -> dict[str, str]:
    return {rule["name"]: rule["decision"] for rule in outputs.read_json(Path("data/gate/verdict.json"))["rules"]}


def test_of_releases_that_lose_three_percent_each_the_second_is_the_last(checkout: Checkout) -> None:
    ndcg = 0.4
    for seed in (1, 2):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
        ndcg *= 0.97
    checkout.candidate(3, verdict=None, ndcg=ndcg)
    assert [name for name, decision in decisions().items() if decision != "pass"] == ["no slow decline"]
    with pytest.raises(ValueError, match=r"^the verdict is REJECT.*«no slow decline»: ndcg@10 gain over best v1\.0\.0"):
        release.promote()
    assert serving() == "v2.0.0"
    checkout.candidate(4, ndcg=0.39)
    assert release.promote().version == "v3.0.0"


def test_releases_of_steady_quality_are_all_promoted(checkout: Checkout) -> None:
    rng = np.random.default_rng(0)
    for seed in range(6):
        checkout.candidate(seed, ndcg=0.4 * (1 + rng.uniform(-0.02, 0.02)))
        assert release.promote().changed


def test_a_verdict_against_a_former_best_release_is_refused(checkout: Checkout) -> None:
    """The best one is withdrawn between verdict and promotion."""
    for seed, ndcg in enumerate((0.39, 0.41, 0.4), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    checkout.candidate(4, ndcg=0.4)
    deregister(".", "longtail", version="v2.0.0", author="Someone", author_email="someone@example.org")
    with pytest.raises(
        release.OvertakenError,
        match=r"compared with the best release v2\.0\.0 by ndcg@10 .*, which is v3\.0\.0 \(the champion\) by ndcg@10",
    ):
        release.promote()
    assert serving() == "v3.0.0"
    checkout.candidate(4, ndcg=0.4)
    assert release.promote().version == "v4.0.0"


def test_lineage_names_the_best_release_that_was_compared_with(checkout: Checkout) -> None:
    for seed, ndcg in enumerate((0.4, 0.39, 0.39), start=1):
        checkout.candidate(seed, ndcg=ndcg)
        checkout.promote()
    assert any(
        "compared with the best release: v1.0.0 by ndcg@10 since v1.0.0" in line for line in lineage.lineage("v3.0.0")
    )
    assert not any("best release" in line for line in lineage.lineage("v1.0.0"))


def test_a_lock_file_that_describes_other_data_is_refused(checkout: Checkout) -> None:
    checkout.candidate(1)
    stale = Path("dvc.lock").read_text()
    checkout.candidate(2)
    Path("dvc.lock").write_text(stale)
    before = refs(checkout)
    with pytest.raises(ValueError, match=r"dvc\.lock does not match .*data/train/model\.safetensors"):
        release.promote()
    assert refs(checkout) == before


def test_a_missing_lock_file_is_refused(checkout: Checkout) -> None:
    checkout.candidate(1)
    Path("dvc.lock").unlink()
    with pytest.raises(FileNotFoundError, match=r"dvc\.lock, .*, is missing; run `dvc repro`"):
        release.promote()


def test_rollback_goes_to_the_version_that_was_replaced(checkout: Checkout) -> None:
    for seed in (1, 2, 3):
        checkout.candidate(seed)
        checkout.promote()
    assert [release.rollback().version, serving()] == ["v2.0.0", "v2.0.0"]
    assert [release.rollback().version, serving()] == ["v1.0.0", "v1.0.0"]
    with pytest.raises(ValueError, match=r"v1\.0\.0 has no predecessor"):
        release.rollback()


def test_rollback_skips_a_version_that_was_itself_rolled_back(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()
    release.rollback()
    checkout.candidate(3)
    checkout.promote()
    assert release.rollback().version == "v1.0.0"


def test_rollback_to_a_named_version(checkout: Checkout) -> None:
    for seed in (1, 2, 3):
        checkout.candidate(seed)
        checkout.promote()
    assert release.rollback("v1.0.0").version == "v1.0.0"
    with pytest.raises(ValueError, match=r"v1\.0\.0 already serves"):
        release.rollback("v1.0.0")
    with pytest.raises(ValueError, match=r"'v9\.0\.0' is not registered; registered: v1\.0\.0, v2\.0\.0, v3\.0\.0"):
        release.rollback("v9.0.0")


def test_a_version_tag_that_was_moved_to_another_release_is_not_believed(checkout: Checkout) -> None:
    for seed in (1, 2, 3):
        checkout.candidate(seed)
        checkout.promote()
    who = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    git(checkout.root, *who, "tag", "-fam", "moved", "longtail@v2.0.0", "refs/longtail/releases/v1.0.0")
    commit = tags.read(load(Champion)).version("v2.0.0").commit
    for use in (
        release.rollback,
        lambda: list(lineage.lineage("v2.0.0")),
        lambda: version_files.obtain("v2.0.0", commit, version_files.ARCHIVE),
    ):
        with pytest.raises(ValueError, match=r"^the tag of v2\.0\.0 was moved to .*, which is the release of v1\.0\.0"):
            use()
    git(checkout.root, *who, "tag", "-fam", "back", "longtail@v2.0.0", "refs/longtail/releases/v2.0.0")
    assert release.rollback().version == "v2.0.0"


def test_promotion_goes_on_after_the_newest_version_was_deregistered(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()
    deregister(".", "longtail", version="v2.0.0", author="Someone", author_email="someone@example.org")
    checkout.candidate(3)
    assert release.promote().version == serving() == "v3.0.0"


def test_rollback_before_anything_serves_is_refused(checkout: Checkout) -> None:
    with pytest.raises(ValueError, match="no version serves yet"):
        release.rollback()


def test_rollback_to_a_version_whose_bento_is_gone_is_refused(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()
    shutil.rmtree(".dvc/cache")
    before = refs(checkout)
    with pytest.raises(
        FileNotFoundError, match=r"longtail\.tar of v1\.0\.0 is neither in the DVC cache nor in a remote"
    ):
        release.rollback()
    assert refs(checkout) == before
    assert serving() == "v2.0.0"


def test_a_corrupted_cache_object_is_noticed(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()
    for path in Path(".dvc/cache").rglob("*"):
        if path.is_file() and path.read_bytes() == b"bento of 1":
            path.chmod(0o644)
            path.write_bytes(b"bento of ?")
    with pytest.raises(ValueError, match=r"longtail\.tar of v1\.0\.0 is corrupted"):
        release.rollback()


def test_a_rolled_back_model_needs_again(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    checkout.promote()
    release.rollback()
    checkout.candidate(2)
    with pytest.raises(release.RolledBackError, match=r"this model is v2\.0\.0, which was rolled back"):
        release.promote()
    assert release.promote(again=True).version == serving() == "v3.0.0"
    assert not release.promote().changed


def test_a_model_that_came_back_and_was_superseded_is_not_rolled_back_any_more(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()
    release.rollback()
    for seed in (2, 3, 2):
        checkout.candidate(seed)
        release.promote(again=seed == 2 and serving() == "v1.0.0")
    assert serving() == "v5.0.0"


def test_a_superseded_model_may_come_back_without_again(checkout: Checkout) -> None:
    for seed in (1, 2, 1):
        checkout.candidate(seed)
        checkout.promote()
    assert serving() == "v3.0.0"


def test_a_changed_bento_of_the_serving_model_is_released_with_again(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    rewrite(Path("data/package/bento.json"), {"files": {"service.py": "another"}})
    record()
    outcome = release.promote()
    assert not outcome.changed
    assert "its Bento has changed" in outcome.text
    assert release.promote(again=True).version == "v2.0.0"
    assert release.rollback().version == "v1.0.0"


def test_two_assignments_within_one_second_are_ordered_for_gto_too(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    checkout.candidate(2)
    checkout.promote()
    for _ in range(3):
        release.rollback("v1.0.0")
        release.rollback("v2.0.0")
        assert show(".", "longtail#prod")[0]["version"] == serving() == "v2.0.0"


def test_the_users_branch_may_move_on(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    Path("notes.txt").write_text("later\n")
    commit(checkout.root, "later")
    checkout.candidate(2)
    checkout.promote()
    assert git(checkout.root, "rev-parse", "longtail@v2.0.0^{commit}^") == git(checkout.root, "rev-parse", "HEAD")


def test_a_release_from_before_the_code_lay_in_folders_is_compared_and_serves_again(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then dvc.yaml named files such as pipelines/gate.py, which no checkout has now, and Bentos were xz files."""
    archive, files = version_files.ARCHIVE, version_files.FILES
    monkeypatch.setattr(version_files, "ARCHIVE", version_files.FORMER_ARCHIVE)
    monkeypatch.setattr(version_files, "FILES", (*files[:2], version_files.FORMER_ARCHIVE))
    graph = Path("dvc.yaml")
    now = graph.read_text()
    then = json.loads(now)
    for name, stage in then["stages"].items():
        stage["deps"] = [f"pipelines/{name}.py" if dep == f"pipelines/{name}" else dep for dep in stage["deps"]]
        Path(f"pipelines/{name}.py").write_text(f"# {name}\n")
    graph.write_text(json.dumps(then))
    commit(checkout.root, "flat")
    checkout.candidate(1)
    checkout.promote()
    for name in then["stages"]:
        Path(f"pipelines/{name}.py").unlink()
        shutil.rmtree(Path("data", name))
    graph.write_text(now)
    monkeypatch.setattr(version_files, "ARCHIVE", archive)
    monkeypatch.setattr(version_files, "FILES", files)
    commit(checkout.root, "folders")
    checkout.candidate(2)
    assert outputs.read_json(Path("data/champion/champion.json"))["version"] == "v1.0.0"
    checkout.promote()
    assert release.rollback().version == "v1.0.0"
    version = tags.read(load(Champion)).version("v1.0.0")
    assert version_files.archive(version.name, version.commit).name == "longtail.bento"
    assert [line for line in lineage.lineage("v1.0.0") if "PROMOTE" in line]
