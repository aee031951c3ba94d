"""Secrets of addresses and control characters reach no terminal, no log and no file, wherever they come in."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipelines.artifacts import outputs
from pipelines.cli import doctor, main
from pipelines.evaluate import stage as evaluate
from pipelines.gate import stage as gate
from pipelines.gate.report import text_report
from pipelines.orchestration import approval_tasks
from pipelines.package import card as model_card
from pipelines.privacy import markdown
from pipelines.privacy.shown import credential, markup, redacted, shown, visible
from pipelines.runtime import console
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.settings.release import Release
from pipelines.workspace import git
from tests.conftest import REPO, Workspace, edit_params
from tests.pipelines import holdouts
from tests.pipelines.holdouts import model
from tests.pipelines.releases import Checkout

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07 [bold red]x[/] \u202egnp.exe <img src=x onerror=alert(1)> ![i](http://e/i.png) `a` | b"
)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("https://user:s3cret@host/a?token=t0ken&page=2#x", "https://***@host/a?token=***&page=***#x"),
        ("https://s3cret@host/a", "https://***@host/a"),
        ("postgresql+psycopg://u:s3/cr@e?t@host/db refused", "postgresql+psycopg://***@host/db refused"),
        ("redis://:s3cret@host:6379/0", "redis://***@host:6379/0"),
        ("pool(host='h') with url: /a.csv?sig=s3cret (Caused", "pool(host='h') with url: /a.csv?sig=*** (Caused"),
        ("connection to 'host=h password=s3cret user=u' failed", "connection to 'host=h password=*** user=u' failed"),
        ("password: 's3 cret', then", "password: ***, then"),
        ("Authorization: Bearer s3cret.s3cret.s3cret", "Authorization: Bearer ***"),
        ("ssh://git@host/a and git@host:a", "ssh://git@host/a and git@host:a"),
        ("http://127.0.0.1:3000/recommend answers 400", "http://127.0.0.1:3000/recommend answers 400"),
        ("is it a mean? a=1 & b=2; see http://h:80/@scope", "is it a mean? a=1 & b=2; see http://h:80/@scope"),
    ],
)  # fmt: skip
def test_secrets_of_addresses_are_hidden_and_nothing_else(text: str, result: str) -> None:
    assert redacted(text) == result


SIGNS = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="*"), min_size=4, max_size=12)


@given(secret=SIGNS, scheme=st.sampled_from(["https", "postgresql+psycopg", "s3", "redis"]))
def test_no_password_is_left_whatever_signs_it_has(secret: str, scheme: str) -> None:
    secret = f"pw{secret}"  # a number alone might be a port
    for text in (f"{scheme}://user:{secret}@host.example/db", f"cannot reach '{scheme}://user:{secret}@host.example'"):
        assert secret not in redacted(text)
        assert "host.example" in redacted(text)


@given(st.text(st.characters(codec=None)))
def test_what_is_shown_moves_no_cursor_and_can_be_printed(text: str) -> None:
    result = shown(text)
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", result)
    result.encode("utf-8")


def test_text_of_other_scripts_stays_as_it_is() -> None:
    assert visible("می‌خواهم 日本 👩‍🔬 ñ\tb") == "می‌خواهم 日本 👩‍🔬 ñ\tb"
    assert visible("a\nb", lines=True) == "a\nb"
    assert visible("a\nb") == "a\\nb"


def test_markup_of_rich_is_text() -> None:
    target = io.StringIO()
    console = Console(file=target, force_terminal=True, width=400, color_system=None)
    console.print(f"[dim]{markup(HOSTILE)} {markup(chr(92))}[/]", end="")
    assert target.getvalue() == visible(HOSTILE) + " \\"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:s3cret@host/a.zip", "https://s3cret@host/a.zip", "https://host/a?token=s3cret",
        "https://host/a?X-Amz-Signature=s3cret&x=1", "https://host/a?api_key=s3cret", "https://host/a?x=1&sig=s3cret",
    ],
)  # fmt: skip
def test_settings_with_a_secret_are_refused_since_releases_keep_them(workspace: Workspace, url: str) -> None:
    workspace.params("ingest", {"url": url})
    workspace.params("release", {"remote": url})
    for section in (Ingest, Release):
        with pytest.raises(ValueError, match=r"contains a (user or password|value of)") as error:
            load(section)
        assert "s3cret" not in console.sentence(error.value)


@pytest.mark.parametrize(
    "url", ["https://host/a?format=csv&key_id=3", "https://host/a?token=${TOKEN}", "http://h:80/a"]
)
def test_settings_without_one_are_not(url: str) -> None:
    assert credential(url) is None


FAR = "http://user:s3cret@127.0.0.1:1/?token=s3cret"
COMMANDS = [
    "run",
    "promote",
    "status",
    "lineage",
    "doctor",
    "forget u1",
    "feedback export",
    "gate",
    "monitor --url URL",
]


@pytest.mark.slow
def test_no_command_says_a_secret_however_it_fails(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Secrets in every place that takes an address: settings, Git's remote, DVC's remote, the store of feedback."""
    monkeypatch.delenv("LONGTAIL_DEBUG", raising=False)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("LONGTAIL_FEEDBACK_DB", "postgresql+psycopg://user:s3cret@127.0.0.1:1/db?sslkey=s3cret")
    Path("constraints.txt").write_text("# nothing pinned\n")
    edit_params(Path("params.yaml"), "ingest", {"url": FAR})
    edit_params(Path("params.yaml"), "release", {"remote": "origin"})
    git.git("remote", "add", "origin", "http://user:s3cret@127.0.0.1:1/a.git")
    config = Path(".dvc/config")
    config.write_text(
        f"{config.read_text()}    remote = far\n['remote \"far\"']\n    url = http://u:s3cret@127.0.0.1:1/\n"
    )
    for words in COMMANDS:
        with contextlib.suppress(SystemExit):
            main.main(words.replace("URL", FAR).split())
        output = "".join(capfd.readouterr())
        assert output, words
        assert "s3cret" not in output, words
    ours = [path for path in Path().rglob("*") if path.is_file() and path.name not in ("params.yaml", "config")]
    assert [path for path in ours if b"s3cret" in path.read_bytes()] == []


def test_a_stage_that_fails_says_no_secret(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.params("ingest", {"source": "table", "url": "http://127.0.0.1:1/a.csv?token=${DATA_TOKEN}"})
    monkeypatch.setenv("DATA_TOKEN", "s3cret")
    monkeypatch.setattr("pipelines.ingest.sources.download.time.sleep", lambda seconds: None)
    from pipelines.ingest import stage as ingest

    with pytest.raises(SystemExit):
        console.run(ingest.main, "ingest")
    output = "".join(capsys.readouterr())
    assert "token=***" in output
    assert "s3cret" not in output
    assert [path for path in Path().rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()] == []


def test_a_traceback_says_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("cannot reach https://user:s3cret@host/x\x1b[2J")
    except RuntimeError as error:
        console.print_traceback(RuntimeError, error, error.__traceback__)
    output = capsys.readouterr().err
    assert "RuntimeError: cannot reach https://***@host/x\\x1b[2J" in output
    assert "s3cret" not in output


@pytest.mark.slow
def test_what_a_tag_or_a_commit_says_reaches_the_terminal_as_text(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout.candidate(1)
    git.git("config", "user.email", "eve@example.com")
    git.git("config", "user.name", "eve\x1b[31m\u202e[bold]")
    git.git("add", ".")
    git.git("commit", "--quiet", "-m", "start \x1b]0;owned\x07 \u202e")
    from pipelines.release import release

    release.promote()
    for words in (["status"], ["lineage"]):
        main.main(words)
    output = capsys.readouterr().out
    assert "eve\\x1b[31m\\u202e[bold]" in output
    assert "start \\x1b]0;owned\\x07" in output
    assert not set(output) & {"\x1b", "\x07", "\u202e"}


def test_a_finding_of_the_doctor_is_text(
    checkout: Checkout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda remote: [doctor.Finding(HOSTILE, "see https://u:s3cret@h")])
    with pytest.raises(SystemExit):
        main.main(["doctor"])
    output = "".join(capsys.readouterr())
    assert "\x1b" not in output
    assert "s3cret" not in output


def rendered(text: str) -> str:
    """HTML of a Markdown text by an implementation of CommonMark with tables and bare addresses as links."""
    markdown_it = pytest.importorskip("markdown_it")
    found: str = markdown_it.MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    return found


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


WORDS = [
    *(HOSTILE, "![x](http://e/x.png)", "[x](javascript:alert(1))", "<script>alert(1)</script>", "&lt;b&gt;", "a|b"),
    *("*a* __b__ ~~c~~", "`code`", "\\[x](y)", "https://e.example/x www.e.example", "# head", "<http://e>"),
    *("[x]: http://e", "_a_ tail_ndcg@10"),
]


@pytest.mark.parametrize("text", WORDS)
def test_a_cell_of_markdown_is_the_text_itself(text: str) -> None:
    page = Tags(rendered(f"| name | b |\n|---|---|\n| x {markdown.cell(text)} | 7 |\n"))
    assert set(page.found) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert page.found.count("td") == 2
    assert " ".join(page.text.split()) == f"name b x {' '.join(visible(' '.join(text.split())).split())} 7"
    line = Tags(rendered(f"- x {markdown.plain(text)}\n"))
    assert set(line.found) <= {"ul", "li"}


@pytest.mark.drawn
@pytest.mark.slow
def test_a_rule_that_is_named_like_markup_is_text_in_every_report(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    holdouts.write_all(model(knowledge=1))
    rules = [{"name": f"{text} {n}", "metric": "ndcg@10", "min": 0.0} for n, text in enumerate(WORDS)]
    workspace.params("gate", {"rules": rules})
    evaluate.main()
    gate.main()
    verdict = outputs.read_json(Path("data/gate/verdict.json"))
    verdict["reason"] += f" {HOSTILE}"
    page = Tags(Path("data/gate/report.html").read_text("utf-8"))
    assert not {"script", "img", "iframe"} & set(page.found)
    assert re.findall(r'href="(?!#)', Path("data/gate/report.html").read_text("utf-8")) == []
    assert "<script>alert(1)</script>" in page.text
    report = Path("data/gate/report.md").read_text("utf-8")
    body = "\n".join(approval_tasks.table(verdict))
    note = gate_note(verdict["reason"])
    metrics = outputs.read_json(Path("data/evaluate/metrics.json"))
    about = {"tail": HOSTILE, "search": "exact", "encoder": {"reason": HOSTILE}}
    card = model_card.write("longtail:x", verdict, metrics, {}, about)
    for text in (report, body, note, card):
        made = Tags(rendered(text))
        assert not {"script", "img", "a", "iframe", "b"} & set(made.found)
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
        assert "<img src=x onerror=alert(1)>" in made.text
    target = io.StringIO()
    text_report.print_verdict(verdict, Console(file=target, force_terminal=True, width=300, color_system=None))
    assert not set(target.getvalue()) & {"\x07", "\u202e"}
    assert "[bold red]x[/]" in target.getvalue()
    assert "\x1b[2J" not in target.getvalue()


def gate_note(reason: str) -> str:
    """The sentence that a run's note in Airflow gets; the plugin needs Airflow, its function alone does not."""
    source = (REPO / "dags/plugins/gate_report.py").read_text("utf-8")
    functions = [node for node in ast.parse(source).body if getattr(node, "name", "") == "without_markup"]
    names: dict[str, Any] = {"re": re}
    exec(compile(ast.Module(functions, []), "gate_report", "exec"), names)
    found: str = names["without_markup"](reason)
    return found
