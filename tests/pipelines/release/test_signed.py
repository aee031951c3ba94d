"""A registry whose tags have to be signed, with real keys."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.champion import stage as champion
from pipelines.registry import tags
from pipelines.release import lineage, release
from pipelines.settings.champion import Champion
from pipelines.settings.document import load
from pipelines.workspace import git as repository
from tests import system
from tests.conftest import edit_params
from tests.pipelines.releases import Checkout, git

pytestmark = pytest.mark.slow  # Git and DVC for real

WHO = "Someone <someone@example.org>"


def configure(checkout: Checkout, **settings: str) -> None:
    for key, value in {"user.name": "Someone", "user.email": "someone@example.org", **settings}.items():
        git(checkout.root, "config", key.replace("__", "."), value)


@pytest.fixture
def ssh(checkout: Checkout, tmp_path: Path) -> Checkout:
    """A checkout whose owner signs with an SSH key, and accepts that one alone."""
    system.program("ssh-keygen")  # Git runs it as well
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"someone@example.org {key.with_suffix('.pub').read_text()}")
    configure(checkout, gpg__format="ssh", user__signingkey=str(key), gpg__ssh__allowedSignersFile=str(allowed))
    edit_params(checkout.root / "params.yaml", "release", {"signed": True})
    return checkout


@pytest.fixture
def gpg(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkout]:
    """A checkout whose owner signs with a GnuPG key."""
    system.program("gpg")  # Git runs it as well
    home = Path("/tmp", f"longtail-gpg-{os.getpid()}")  # its sockets want a short path
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    try:
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        subprocess.run([*command, "--quick-generate-key", WHO, "ed25519", "sign", "never"], check=True)
        configure(checkout)
        edit_params(checkout.root / "params.yaml", "release", {"signed": True})
        yield checkout
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], check=False)
        shutil.rmtree(home)


def serving() -> str | None:
    version = tags.read(load(Champion)).serving
    return version.name if version else None


def promote_two(checkout: Checkout) -> None:
    for seed in (1, 2):
        checkout.candidate(seed)
        checkout.promote()


def sign(key: Path | None, tag: str, target: str) -> None:
    """Write a tag signed with a stranger's key; without a key, an unsigned tag."""
    how = ["-c", f"user.signingkey={key}", "tag", "--sign"] if key else ["tag", "--annotate"]
    git(Path.cwd(), *how, "--force", "-m", "mine", tag, target)


def test_promotions_are_signed_by_ssh_and_believed(ssh: Checkout) -> None:
    promote_two(ssh)
    assert release.rollback().version == serving() == "v1.0.0"
    tags = git(ssh.root, "tag").splitlines()
    assert len(tags) == 5
    for tag in tags:
        git(ssh.root, "verify-tag", tag)
    author, dates = "%(taggername) %(taggeremail)", "%(taggerdate:unix)"
    assert set(git(ssh.root, "for-each-ref", f"--format={author}", "refs/tags").splitlines()) == {WHO}
    assert all(
        int(date) > 1_700_000_000 for date in git(ssh.root, "for-each-ref", f"--format={dates}", "refs/tags").split()
    )
    assert "v1.0.0 in prod" in next(lineage.status())


def test_promotions_are_signed_by_gpg_and_believed(gpg: Checkout) -> None:
    gpg.candidate(1)
    assert release.promote().version == serving() == "v1.0.0"
    assert "BEGIN PGP SIGNATURE" in git(gpg.root, "cat-file", "tag", "longtail@v1.0.0")
    git(gpg.root, "tag", "--annotate", "--force", "-m", "mine", "longtail#prod#2", "longtail@v1.0.0^{}")
    with pytest.raises(
        ValueError, match=r"^the tag longtail#prod#2 is not signed by a key that Git accepts \(no signature"
    ):
        serving()


@pytest.mark.parametrize("tag", ["longtail@v1.0.0", "longtail#prod#3", "longtail@v1.0.0!", "longtail#prod!#3"])
@pytest.mark.parametrize("foreign", [False, True])
def test_a_tag_by_nobody_or_by_a_stranger_is_refused_everywhere(
    ssh: Checkout, tmp_path: Path, tag: str, foreign: bool
) -> None:
    promote_two(ssh)
    ssh.candidate(3)
    key = tmp_path / "stranger" if foreign else None
    if key is not None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    sign(key, tag, "longtail@v1.0.0^{}")
    before = git(ssh.root, "for-each-ref")
    remedy = "git tag --sign --force -m checked"
    acts = (release.promote, release.rollback, champion.main, serving, lambda: list(lineage.status()))
    for act in acts:
        with pytest.raises(
            ValueError, match=rf"^the tag {tag} is not signed by a key that Git accepts.*{remedy} {tag}"
        ):
            act()
    assert git(ssh.root, "for-each-ref") == before
    git(ssh.root, "tag", "--sign", "--force", "-m", "checked", tag, f"{tag}^{{}}")  # the remedy
    serving()


def test_a_signed_tag_under_another_name_is_refused(ssh: Checkout) -> None:
    """A copy of the first assignment, which is signed, must not become the third."""
    promote_two(ssh)
    git(ssh.root, "update-ref", "refs/tags/longtail#prod#3", git(ssh.root, "rev-parse", "longtail#prod#1"))
    with pytest.raises(
        ValueError, match=r"^the tag longtail#prod#3 was signed as longtail#prod#1, and release\.signed is"
    ):
        serving()


def test_tags_of_others_need_no_signature(ssh: Checkout) -> None:
    promote_two(ssh)
    for tag in ("v1", "other@v1.0.0", "longtail#canary#9", "longtail@latest"):
        sign(None, tag, "HEAD")
    assert serving() == "v2.0.0"


def test_unsigned_tags_are_believed_where_none_have_to_be(checkout: Checkout) -> None:
    checkout.candidate(1)
    checkout.promote()
    assert serving() == "v1.0.0"
    assert "SIGNATURE" not in git(checkout.root, "cat-file", "tag", "longtail@v1.0.0")


@pytest.mark.parametrize("missing", ["user.signingkey", "gpg.ssh.allowedSignersFile"])
def test_nothing_is_promoted_where_git_cannot_sign_or_would_not_believe_it(ssh: Checkout, missing: str) -> None:
    ssh.candidate(1)
    git(ssh.root, "config", "--unset", missing)
    before = git(ssh.root, "for-each-ref")
    with pytest.raises(ValueError, match=r"^release\.signed is true, but Git cannot sign longtail@v1\.0\.0 and verify"):
        release.promote()
    assert git(ssh.root, "for-each-ref") == before


def test_a_worktree_signs_with_its_own_settings(ssh: Checkout, tmp_path: Path) -> None:
    """And objects are found where the repository has them, also with characters that Git's settings escape."""
    key = git(ssh.root, "config", "user.signingkey")
    git(ssh.root, "config", "extensions.worktreeConfig", "true")
    git(ssh.root, "config", "--unset", "user.signingkey")
    git(ssh.root, "config", "--worktree", "user.signingkey", key)
    made = repository.make_tag("x", repository.head(), message='two\nlines # "quoted"', time=1_700_000_000, signed=True)
    assert 'two\nlines # "quoted"' in git(ssh.root, "cat-file", "tag", made)
    assert git(ssh.root, "for-each-ref", "refs/tags") == ""
