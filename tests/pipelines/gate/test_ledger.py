"""The ledger as a chain of commits: real Git repositories that add to it at once, offline, cut, pruned or damaged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from pipelines.gate import ledger
from pipelines.gate.ledger import Judgement, Lost
from pipelines.workspace import git as repository
from tests.conftest import REPO
from tests.pipelines.releases import git

DIGESTS = dict.fromkeys(("model", "data", "split", "tail", "params", "code"), "d" * 64)


def entry(number: int = 1, **changes: Any) -> Judgement:
    given: dict[str, Any] = {
        "kind": "judgement", "artifact": "longtail", "environment": "prod", "epoch": None, "by": "Änne \x1b[1m",
        "at": "2026-01-01T00:00:00+00:00", "run": None, "judgement": f"{number:064x}", "number": number, "line": 0,
        "rule": "spend", "level": 0.05, "verdict": "HOLD", "champion": None, "digests": DIGESTS, "policy": "e" * 64,
        "split": {"strategy": "hash", "seed": 42}, "window": None, "settings": {"model": "als"},
    }  # fmt: skip
    return Judgement(**given | changes)


def add(*numbers: int) -> None:
    for number in numbers:
        assert ledger.append(ledger.read(), entry(number))


def numbers() -> list[int]:
    return [each.number for each in ledger.read().entries if isinstance(each, Judgement)]


@pytest.fixture(autouse=True)
def nobody_configured_git(monkeypatch: pytest.MonkeyPatch) -> None:
    for scope in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{scope}", os.devnull)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "origin.git")
    git(tmp_path, "clone", "--quiet", "origin.git", "first")
    git(tmp_path / "first", "checkout", "--quiet", "-b", "main")
    git(tmp_path / "first", "-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", "start", "--allow-empty")
    git(tmp_path / "first", "push", "--quiet", "origin", "main")
    return tmp_path / "origin.git"


@pytest.fixture
def one(origin: Path, tmp_path: Path) -> Iterator[Path]:
    """A clone, which is the current folder."""
    with chdir(tmp_path / "first"):
        yield Path.cwd()


@pytest.fixture
def two(origin: Path, tmp_path: Path) -> Path:
    """Another clone of the same repository."""
    git(tmp_path, "clone", "--quiet", "origin.git", "second")
    return tmp_path / "second"


def test_entries_come_back_as_they_were_and_in_their_order(one: Path) -> None:
    assert ledger.read() == ledger.Ledger(None, ())
    add(1, 2, 3)
    assert [ledger.text_of(each) for each in ledger.read().entries] == [ledger.text_of(entry(n)) for n in (1, 2, 3)]
    assert git(one, "status", "--porcelain") == ""
    assert git(one, "log", "-1", "--format=%s", ledger.REF) == "judgement 3: HOLD"


def test_fields_of_newer_versions_are_kept(one: Path) -> None:
    assert ledger.append(ledger.read(), entry(1, note_of_2030={"a": [1]}))
    assert "note_of_2030" in ledger.text_of(ledger.read().entries[0])


def test_an_entry_that_was_not_read_first_is_not_put_over_another(one: Path) -> None:
    before = ledger.read()
    add(1)
    assert not ledger.append(before, entry(2))
    assert numbers() == [1]


def test_worktrees_share_the_ledger(one: Path) -> None:
    git(one, "worktree", "add", "--quiet", "--detach", "../tree")
    with chdir(one.parent / "tree"):
        add(1)
    add(2)
    assert numbers() == [1, 2]


def test_a_second_clone_learns_of_the_entries_of_the_first(one: Path, two: Path) -> None:
    add(1, 2)
    ledger.synchronize("origin")
    with chdir(two):
        assert numbers() == []
        ledger.synchronize("origin")
        assert numbers() == [1, 2]
        add(3)
        ledger.synchronize("origin")
    ledger.synchronize("origin")
    assert numbers() == [1, 2, 3]


def test_entries_made_apart_are_all_kept_those_of_the_remote_first(one: Path, two: Path) -> None:
    add(1)
    ledger.synchronize("origin")
    with chdir(two):
        ledger.synchronize("origin")
        add(20, 21)
    add(10)
    ledger.synchronize("origin")
    with chdir(two):
        ledger.synchronize("origin")
        assert numbers() == [1, 10, 20, 21]
    ledger.synchronize("origin")
    assert numbers() == [1, 10, 20, 21]
    assert git(one, "rev-parse", ledger.REF) == git(two, "rev-parse", ledger.REF)


def test_ledgers_that_began_apart_become_one(one: Path, two: Path) -> None:
    add(1, 2)
    with chdir(two):
        add(2, 3)  # 2 is the same entry on both
        ledger.synchronize("origin")
    ledger.synchronize("origin")
    assert numbers() == [2, 3, 1]


def test_a_remote_that_lost_entries_gets_them_back(one: Path, origin: Path) -> None:
    add(1, 2)
    ledger.synchronize("origin")
    git(origin, "update-ref", "-d", ledger.REF)
    ledger.synchronize("origin")
    assert git(origin, "rev-list", "--count", ledger.REF) == "2"


def test_a_remote_that_cannot_be_reached_is_an_error_and_changes_nothing(one: Path) -> None:
    add(1)
    git(one, "remote", "set-url", "origin", "/nowhere/at/all.git")
    with pytest.raises(repository.GitError, match="nowhere"):
        ledger.synchronize("origin")
    assert numbers() == [1]


def test_a_remote_that_refuses_the_push_is_an_error(one: Path, origin: Path) -> None:
    hook = origin / "hooks" / "update"
    hook.write_text("#!/bin/sh\necho no room here >&2\nexit 1\n")
    hook.chmod(0o755)
    add(1)
    with pytest.raises(repository.GitError, match="no room here"):
        ledger.synchronize("origin")
    assert numbers() == [1]


PROGRAM = """
import contextlib
import sys
from pipelines.gate import ledger
from pipelines.workspace import git
from tests.pipelines.gate.test_ledger import entry
for number in range(int(sys.argv[1]), int(sys.argv[1]) + 5):
    with git.lock(ledger.LOCK) if len(sys.argv) > 2 else contextlib.nullcontext():
        while not ledger.append(ledger.read(), entry(number)):
            pass
    if len(sys.argv) > 2:
        ledger.synchronize(sys.argv[2])
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env=env)


@pytest.mark.slow
def test_processes_that_add_at_once_lose_nothing(one: Path) -> None:
    running = [start(one, str(100 * i)) for i in range(1, 5)]
    assert [process.wait() for process in running] == [0] * 4
    assert sorted(numbers()) == sorted(100 * i + j for i in range(1, 5) for j in range(5))


@pytest.mark.slow
def test_machines_that_publish_at_once_lose_nothing(one: Path, two: Path) -> None:
    running = [start(one, "100", "origin"), start(two, "200", "origin"), start(two, "300", "origin")]
    assert [process.wait() for process in running] == [0] * 3
    for folder in (one, two):
        with chdir(folder):
            ledger.synchronize("origin")
            assert sorted(numbers()) == sorted(100 * i + j for i in (1, 2, 3) for j in range(5))


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_whole_entries(one: Path, two: Path) -> None:
    process = start(one, "100", "origin")
    while not numbers():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = numbers()
    assert found == list(range(100, 100 + len(found)))
    add(1)
    ledger.synchronize("origin")
    with chdir(two):
        ledger.synchronize("origin")
        assert numbers() == [*found, 1]


def test_garbage_collection_leaves_the_ledger(one: Path) -> None:
    add(1, 2)
    git(one, "reflog", "expire", "--expire=now", "--all")
    git(one, "gc", "--quiet", "--prune=now")
    assert numbers() == [1, 2]


def test_a_shallow_clone_fetches_all_of_it(one: Path, origin: Path, tmp_path: Path) -> None:
    add(1, 2, 3)
    ledger.synchronize("origin")
    git(tmp_path, "clone", "--quiet", "--depth=1", "--single-branch", origin.as_uri(), "shallow")
    with chdir(tmp_path / "shallow"):
        ledger.synchronize("origin")
        assert numbers() == [1, 2, 3]


def test_a_chain_that_a_shallow_fetch_has_cut_is_not_taken_for_a_short_one(
    one: Path, origin: Path, tmp_path: Path
) -> None:
    add(1, 2, 3)
    ledger.synchronize("origin")
    git(tmp_path, "init", "--quiet", "shallow")
    git(tmp_path / "shallow", "fetch", "--quiet", "--depth=1", origin.as_uri(), f"{ledger.REF}:{ledger.REF}")
    with chdir(tmp_path / "shallow"), pytest.raises(ledger.DamagedError, match=r"history is missing; fetch it from"):
        ledger.read()
    git(tmp_path / "shallow", "fetch", "--quiet", "--unshallow", origin.as_uri(), f"{ledger.REF}:{ledger.REF}")
    with chdir(tmp_path / "shallow"):
        assert numbers() == [1, 2, 3]


def commit(message: str, *parents: str) -> str:
    tree = repository.git("mktree", stdin=b"")
    env = {f"GIT_{role}_{key}": "x" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    return repository.git("commit-tree", tree, *(word for p in parents for word in ("-p", p)), "-m", message, env=env)


def body(sequence: int, **changes: Any) -> str:
    return "x\n\n" + json.dumps({"sequence": sequence, "entry": json.loads(ledger.text_of(entry())) | changes})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("not an entry", "its message is not a valid entry of version 1"),
        ("x\n\n[]", "its message is not a valid entry of version 1"),
        ("x\n\n{}", "its message is not a valid entry of version 1"),
        (body(3, level=0.9), r"\(Input should be less than 0\.5\)"),
        (body(3, level="0.05"), r"\(Input should be a valid number\)"),
        (body(3, schema_version=2), r"\(Input should be 1\)"),
        (body(3, kind="gift"), "its message is not a valid entry"),
        (body(2), "number 2 and the 3 oldest one there"),
    ],
)
def test_what_is_not_an_entry_is_named_and_not_skipped(one: Path, message: str, said: str) -> None:
    add(1, 2)
    tip = repository.git("rev-parse", ledger.REF)
    repository.git("update-ref", ledger.REF, commit(message, tip))
    with pytest.raises(ledger.DamagedError, match=rf"is damaged at commit [0-9a-f]{{12}}: .*{said}"):
        ledger.read()


def test_a_merge_commit_is_not_a_chain(one: Path) -> None:
    add(1)
    tip = repository.git("rev-parse", ledger.REF)
    repository.git("update-ref", ledger.REF, commit(body(2), tip, git(one, "rev-parse", "main")))
    with pytest.raises(ledger.DamagedError, match="is damaged"):
        ledger.read()


def test_a_remote_whose_ledger_is_damaged_is_not_taken_for_empty(one: Path, two: Path) -> None:
    with chdir(two):
        git(two, "push", "--quiet", "origin", f"{commit('nothing')}:{ledger.REF}")
    add(1)
    with pytest.raises(ledger.DamagedError, match="of the remote 'origin'"):
        ledger.synchronize("origin")


def test_replaced_objects_do_not_change_what_is_read(one: Path) -> None:
    add(1, 2)
    tip = git(one, "rev-parse", ledger.REF)
    git(one, "replace", tip, f"{tip}^")
    assert numbers() == [1, 2]


def test_a_lost_history_is_an_entry_too(one: Path) -> None:
    lost = Lost(
        kind="lost", artifact="a", environment="b", epoch=None, by="A", at="now", run=None, judgement="a" * 64,
        reason="disk",
    )  # fmt: skip
    assert ledger.append(ledger.read(), lost)
    assert ledger.read().entries == (lost,)
