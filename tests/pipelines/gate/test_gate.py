"""The gate stage: from an evaluation to verdict.json and its reports."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipelines.artifacts import outputs
from pipelines.evaluate import stage as evaluate
from pipelines.gate import stage as gate
from pipelines.gate.report import rules, text_report
from pipelines.gate.report import slices as report_slices
from pipelines.orchestration import approval_tasks
from pipelines.registry import digests
from tests.conftest import REPO, Workspace
from tests.pipelines import holdouts
from tests.pipelines.holdouts import model

OUT = Path("data/gate")
HTML_TAG = "<b>bold</b>"
TAIL_OF_DIVERSE = {"name": "tail", "metric": "tail_recall@20", "slice": "group=diverse", "reference": "popularity",
                   "min_gain": 0.0}  # fmt: skip
MODELS = (("candidate", "0.25"), ("champion", "0.3"))


def judge() -> dict[str, Any]:
    evaluate.main()
    gate.main()
    verdict: dict[str, Any] = outputs.read_json(OUT / "verdict.json")
    return verdict


def rule(**changes: Any) -> dict[str, Any]:
    return {"name": "beats popularity", "metric": "ndcg@10", "reference": "popularity", "min_gain": 0.0} | changes


def test_a_good_first_candidate_is_promoted_and_rules_against_the_champion_do_not_apply(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    verdict = judge()
    assert verdict["verdict"] == "PROMOTE"
    decisions = {outcome["name"]: outcome["decision"] for outcome in verdict["rules"]}
    against_champion = {o["name"] for o in verdict["rules"] if o["reference"] in ("champion", "best")}
    assert {name for name, decision in decisions.items() if decision == "not_applicable"} == against_champion
    assert set(decisions.values()) == {"pass", "not_applicable"}
    assert all(control["discriminates"] for control in verdict["controls"])


def test_the_verdict_carries_the_digests_of_what_it_speaks_of(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    verdict = judge()
    assert verdict["digests"] == digests.digests()
    assert verdict["digests"]["model"] == outputs.sha256(Path("data/train/model.safetensors"))
    assert verdict["champion"] == outputs.read_json(Path("data/champion/champion.json"))
    assert (verdict["confidence"], verdict["correction"], verdict["seen_holdout"]) == (0.95, "holm", "hold")


def test_the_summary_holds_what_the_rules_judge_and_what_it_was_measured_on(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    workspace.params("gate", {"rules": [rule(), rule(name="held", reference="champion"), TAIL_OF_DIVERSE]})
    verdict = judge()
    models = outputs.read_json(Path("data/evaluate/metrics.json"))["models"]
    summary = outputs.read_json(OUT / "summary.json")
    tail = models["candidate"]["tail_recall@20"]  # everybody is diverse
    assert summary == {
        "verdict": verdict["verdict"],
        "holdout": holdouts.HASHES["holdout_sha256"][:12],
        "tail": holdouts.HASHES["tail_sha256"][:12],
        "candidate": pytest.approx({"ndcg@10": models["candidate"]["ndcg@10"], "tail_recall@20 group=diverse": tail}),
        "champion": pytest.approx({"ndcg@10": models["champion"]["ndcg@10"]}),
    }


def test_a_summary_without_a_champion_says_nothing_of_one(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    judge()
    summary = outputs.read_json(OUT / "summary.json")
    assert set(summary) == {"verdict", "holdout", "tail", "candidate"}
    assert list(summary["candidate"]) == ["ndcg@10", "tail_coverage@10", "tail_recall@20"]


def test_a_long_table_becomes_wide_with_empty_cells_where_a_model_has_no_value() -> None:
    table = {"model": ["a", "a", "b"], "decile": ["1", "3", "1"], "recall": ["0.5", "0.0", "0.1"]}
    assert gate.wide(table, "decile", "recall") == {"decile": ["1", "3"], "a": ["0.5", "0.0"], "b": ["0.1", ""]}


def test_a_candidate_worse_than_the_champion_is_rejected_and_the_stage_still_succeeds(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=0.02), model(knowledge=1))
    verdict = judge()
    assert verdict["verdict"] == "REJECT"
    assert {r["name"] for r in verdict["rules"] if r["decision"] == "fail"} >= {"accuracy held"}


def test_a_candidate_equal_to_the_champion_holds_every_rule_against_it(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=1))
    assert judge()["verdict"] == "PROMOTE"


@pytest.mark.drawn
def test_equal_inputs_give_equal_files(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    judge()
    first = outputs.read_manifest(OUT)
    gate.main()
    assert outputs.read_manifest(OUT) == first


def test_an_empty_policy_rejects(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("gate", {"rules": []})
    assert judge()["verdict"] == "REJECT"


def test_a_policy_that_cannot_reject_popularity_rejects_everything(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("gate", {"rules": [rule()]})
    verdict = judge()
    assert verdict["verdict"] == "REJECT"
    assert "cannot discriminate: no tail rule rejects popularity" in verdict["reason"]


def test_a_reference_that_was_not_evaluated_cannot_serve_as_control(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("evaluate", {"references": ["popularity"]})
    workspace.params("gate", {"rules": [rule(), rule(name="tail", metric="tail_recall@20", min_gain=0.1)]})
    verdict = judge()
    assert verdict["verdict"] == "REJECT"
    assert "no accuracy rule rejects random" in verdict["reason"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "ndgc@10"}, "unknown metric 'ndgc@10'; write <metric>@<k> with one of ndcg, recall"),
        ({"metric": "ndcg@15"}, r"ndcg@15 was not evaluated, k is \[10, 20\]"),
        ({"reference": "oracle"}, "unknown reference 'oracle'"),
        ({"slice": "niche"}, "unknown slice 'niche'"),
        ({"min_gain": 1.5}, "can never hold: ndcg@10 gain is between -1 and 1"),
        ({"min": 0.1}, r"has the bounds \['min', 'min_gain'\], expected exactly one"),
        ({"min_gain": -0.1}, r"gate.rules.0.min_gain is -0.1"),
        ({"reference": None}, "need a reference"),
    ],
)
def test_a_rule_that_means_nothing_is_an_error(workspace: Workspace, changes: dict[str, Any], message: str) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("gate", {"rules": [rule(**changes)]})
    with pytest.raises(ValueError, match=message):
        judge()
    assert not OUT.exists()


def test_fewer_users_than_a_rule_needs_hold_and_everything_that_is_read_says_how_many_would_tell(
    workspace: Workspace,
) -> None:
    """Users who all lose nothing: that holds for a loss of 0.01 as well where one in a hundred loses everything."""
    parts = holdouts.pairs()
    parts.test = [(user, item) for user, item in parts.test if user < 60]
    holdouts.write_all(model(knowledge=1), model(knowledge=1), parts)
    verdict = judge()
    assert verdict["verdict"] == "HOLD"
    (held,) = (rule for rule in verdict["rules"] if rule["name"] == "tail held")
    assert (held["decision"], held["n_users"]) == ("inconclusive", 60)
    assert held["users_needed"] >= 300
    asked = f"about {held['users_needed']:,} for «tail held» (60 now)"
    page = Page((OUT / "report.html").read_text("utf-8"))
    for text in ("".join(page.texts), (OUT / "report.md").read_text("utf-8"), " ".join(printed(verdict).split())):
        assert asked in text
        assert f"about {held['users_needed']:,} users would tell" in text


def test_what_is_decided_asks_for_no_users(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    verdict = judge()
    assert verdict["verdict"] == "PROMOTE"
    assert {rule["users_needed"] for rule in verdict["rules"]} == {None}
    for text in (printed(verdict), *((OUT / name).read_text("utf-8") for name in ("report.md", "report.html"))):
        assert "Users that would decide it" not in text


def test_a_champion_that_has_seen_the_holdout_holds_what_would_be_promoted_and_says_what_to_do(
    workspace: Workspace,
) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(model(knowledge=0.9), split=holdouts.SPLIT | {"seed": 7})
    verdict = judge()
    assert verdict["verdict"] == "HOLD"
    assert verdict["unfair_champion"] in verdict["reason"]
    assert "restore its split settings, or set gate.seen_holdout to skip" in verdict["reason"]
    for report in ("report.md", "report.html"):
        assert "has seen pairs of this holdout" in (OUT / report).read_text("utf-8")


def test_a_split_changed_for_good_is_judged_by_the_other_rules(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_champion(model(knowledge=0.9), split=holdouts.SPLIT | {"seed": 7})
    workspace.params("gate", {"seen_holdout": "skip"})
    verdict = judge()
    assert verdict["verdict"] == "PROMOTE"
    left_out = [rule for rule in verdict["rules"] if rule["reference"] == "champion"]
    assert {rule["decision"] for rule in left_out} == {"not_applicable"}
    assert all("drawn with seed 7" in rule["reason"] for rule in left_out)


def test_fewer_users_or_another_source_hold_what_would_be_promoted_until_a_person_accepts_it(
    workspace: Workspace,
) -> None:
    holdouts.write_all(model(knowledge=1))
    data = {"source": "movielens", "sizes": {"n_users": 1000}}
    holdouts.write_champion(model(knowledge=0.9), version="v3.0.0", data=data)
    verdict = judge()
    assert verdict["verdict"] == "HOLD"
    assert {rule["decision"] for rule in verdict["rules"]} == {"pass"}
    assert verdict["reason"] == (
        "Compared with what v3.0.0 serves, the source of the data is table instead of movielens; 480 users instead of "
        "1,000 (fewer by 52.0 %, at most 30 % allowed). If that is meant, set gate.accept_shrink to v3.0.0 and judge "
        "again."
    )
    for report in ("report.md", "report.html"):
        assert "480 users instead of 1,000" in (OUT / report).read_text("utf-8")
    workspace.params("gate", {"accept_shrink": "v3.0.0"})
    accepted = judge()
    assert accepted["verdict"] == "PROMOTE"
    assert [change["accepted"] for change in accepted["changes"]] == [True, True]
    assert accepted["attempt"]["number"] == verdict["attempt"]["number"]  # the same candidate, judged once


def test_what_a_release_was_exempt_from_stays_accepted_when_its_model_is_judged_again(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    data = {"sizes": {"n_users": 1000}, "released": {"seen_holdout": "skip", "accept_shrink": "v3.0.0"}}
    split = holdouts.SPLIT | {"seed": 7}
    holdouts.write_champion(model(knowledge=0.9), version="v3.0.0", split=split, data=data)
    verdict = judge()
    assert verdict["verdict"] == "PROMOTE"
    assert verdict["seen_holdout"] == "skip"


def test_the_demo_never_replaces_other_data(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_split(holdouts.pairs(), source="demo")
    holdouts.write_candidate(model(knowledge=1))
    holdouts.write_champion(model(knowledge=0.9))
    workspace.params("gate", {"accept_shrink": "v1.0.0"})
    assert "the demo never replaces other data" in judge()["reason"]


def test_a_candidate_that_holds_against_the_champion_is_rejected_for_what_the_best_release_finds(
    workspace: Workspace,
) -> None:
    holdouts.write_all(model(knowledge=0.1))
    holdouts.write_champion(model(knowledge=0.1), version="v3.0.0", best={"ndcg@10": model(knowledge=1)})
    verdict = judge()
    outcomes = {rule["name"]: rule for rule in verdict["rules"]}
    assert verdict["verdict"] == "REJECT"
    assert [rule["name"] for rule in verdict["rules"] if rule["decision"] != "pass"] == ["no slow decline"]
    assert outcomes["no slow decline"]["reference"] == "best v1.0.0"
    assert outcomes["no slow tail loss"]["reference"] == "champion"  # the best one by this figure
    models = outputs.read_json(Path("data/evaluate/metrics.json"))["models"]
    summary = outputs.read_json(OUT / "summary.json")
    assert summary["best"] == pytest.approx({"ndcg@10": models["best v1.0.0"]["ndcg@10"]})
    best = "v1.0.0 by ndcg@10 since v1.0.0; v3.0.0 (the champion) by tail_coverage@10, tail_recall@20 since v1.0.0"
    page = Page((OUT / "report.html").read_text("utf-8"))
    markdown = (OUT / "report.md").read_text("utf-8")
    assert best in page.texts
    assert f"champion: v3.0.0, best release: {best}, 95 %" in markdown
    assert "| metric | best v1.0.0 | candidate | champion |" in markdown
    assert "of best v1.0.0" in printed(verdict) + markdown
    assert any("best release: v1.0.0 by ndcg@10" in line for line in approval_tasks.table(verdict))


def test_a_best_release_whose_files_are_absent_holds_what_would_be_promoted(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    older = {"ndcg@10": model(knowledge=0.8)}
    holdouts.write_champion(model(knowledge=0.9), version="v3.0.0", best=older, absent={"v1.0.0": "it is nowhere"})
    verdict = judge()
    assert verdict["verdict"] == "HOLD"
    assert "«no slow decline»: it is nowhere, or set champion.baseline to a later release" in verdict["reason"]


def test_a_bad_candidate_is_rejected_whatever_the_champion_has_seen(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=0))
    holdouts.write_champion(model(knowledge=0.9), split=holdouts.SPLIT | {"seed": 7})
    assert judge()["verdict"] == "REJECT"


def test_a_rule_may_ask_for_more_than_content_finds(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    beaten = rule(name="beats content", reference="content", max_loss=0.2, min_gain=None)
    workspace.params("gate", {"rules": [rule(), rule(name="tail", metric="tail_recall@20", min_gain=0.1), beaten]})
    assert {r["name"]: r["decision"] for r in judge()["rules"]}["beats content"] in ("pass", "inconclusive")


def test_a_corrected_verdict_says_so(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    for correction, said in (("holm", True), ("none", False)):
        workspace.params("gate", {"correction": correction})
        assert judge()["correction"] == correction
        assert ("Holm's correction" in (OUT / "report.md").read_text("utf-8")) == said


def test_two_rules_of_one_name_are_an_error(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("gate", {"rules": [rule(), rule(metric="recall@10")]})
    with pytest.raises(ValueError, match="several rules are named beats popularity"):
        judge()


def test_a_model_of_another_tail_is_not_judged(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    holdouts.write_candidate(model(knowledge=1), tail_sha256="0" * 64)
    with pytest.raises(ValueError, match=r"tail_sha256 of the model is 0000.*run `dvc repro train`"):
        judge()
    assert not OUT.exists()


@pytest.mark.parametrize("key", ["tail_sha256", "holdout_sha256"])
def test_metrics_of_another_tail_or_holdout_are_not_judged(workspace: Workspace, key: str) -> None:
    holdouts.write_all(model(knowledge=1))
    evaluate.main()
    holdouts.write_split(holdouts.pairs(), **{key: "0" * 64})
    with pytest.raises(ValueError, match=f"{key} of metrics is .*run `dvc repro evaluate`"):
        gate.main()


def test_a_champion_that_was_not_evaluated_is_an_error(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    evaluate.main()
    holdouts.write_champion(model(knowledge=1))
    with pytest.raises(ValueError, match=r"the champion is v1.0.0, but the evaluated models are candidate"):
        gate.main()


class Page(HTMLParser):
    """Parser of a page: its texts, tags, and the addresses that a browser would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.loads += [f"{tag} {values[key]}" for key in ("src", "href") if key in values]
        self.loads += [f"{tag} {values['xlink:href']}" for _ in range(1) if "xlink:href" in values]
        self.ids += [str(values["id"])] if "id" in values else []

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def page(workspace: Workspace) -> Page:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    judge()
    return Page((OUT / "report.html").read_text("utf-8"))


@pytest.mark.drawn
def test_the_report_page_needs_nothing_but_itself(page: Page) -> None:
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert all(address.split()[1].startswith("#") for address in page.loads)
    assert "url(http" not in (OUT / "report.html").read_text("utf-8")
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.drawn
def test_the_report_page_shows_verdict_rules_models_and_digests(page: Page) -> None:
    verdict = outputs.read_json(OUT / "verdict.json")
    texts = " ".join(page.texts)
    assert page.tags.count("figure") == 4
    for expected in (
        verdict["verdict"],
        verdict["reason"],
        *(outcome["name"] for outcome in verdict["rules"]),
        *("candidate", "champion", "popularity", "random", "content"),
        *verdict["digests"].values(),
        "40 of 48 items",
    ):
        assert expected in texts


def test_both_reports_show_slices_and_mark_the_small_ones(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    workspace.params("evaluate", {"slices.users": ["country"], "slices.small": 200})
    judge()
    page = Page((OUT / "report.html").read_text("utf-8"))
    markdown = (OUT / "report.md").read_text("utf-8")
    for name in ("group diverse", "history 10-19", "country DE", "part tail with train events", "decile 1"):
        assert name in page.texts
        assert f"| {name} " in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("| country DE * | 192 | ")]
    assert [len(line.split("|")) for line in lines] == [11, 11]  # ndcg and tail_recall of five models, and the gain
    assert page.texts.count("small") == markdown.count(" * | ") > 0


def test_slices_by_numbers_are_in_order_and_values_of_columns_stay_as_they_are() -> None:
    slices = [
        *(("users", "history", value) for value in ("1-4", "10-19", "100+", "5-9")),
        *(("users", "age", value) for value in ("0-17", "00")),
        *(("items", "decile", value) for value in ("01", "10", "02")),
        *(("items", "part", value) for value in ("cold", "head", "tail")),
    ]
    known = ("3", "7", "False", "2", "True")
    rows = [(*key, *known, model, score) for key in slices for model, score in MODELS]
    names = ("of", "slicing", "slice", "n", "n_events", "small", "n_tail_users", "small_tail", "model", "ndcg@5")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns |= {"tail_recall@5": columns["ndcg@5"], "recall@5": [""] * len(rows)}
    users, of_tail, items = (found for _, _, found in report_slices.tables(columns))
    histories = [f"history {value}" for value in ("1-4", "5-9", "10-19", "100+")]
    assert [each.name for each in users] == [each.name for each in of_tail] == [*histories, "age 0-17", "age 00"]
    assert [(found[0].n, found[0].small) for found in (users, of_tail, items)] == [(3, False), (2, True), (3, False)]
    deciles = [f"decile {n}" for n in (1, 2, 10)]
    parts = ["part head", "part tail with train events", "part tail without train events (cold)"]
    assert [each.name for each in items] == [*deciles, *parts]
    assert report_slices.cells(users[0]) == {"candidate": "0.2500", "champion": "0.3000", "gain": "-0.0500"}
    assert report_slices.cells(items[0])["gain"] == "–"


def test_both_reports_say_of_rules_that_do_not_pass_why_and_on_how_many_users_all_rest(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=0.02), model(knowledge=1))
    workspace.params(
        "gate", {"rules": [rule(), rule(name="fair", metric="gini@10", reference="champion", min_gain=0.5)]}
    )
    verdict = judge()
    page = Page((OUT / "report.html").read_text("utf-8"))
    markdown = (OUT / "report.md").read_text("utf-8")
    other = [outcome for outcome in verdict["rules"] if outcome["decision"] != "pass"]
    assert other
    for outcome in other:
        assert outcome["reason"] in page.texts
        assert f"- «{outcome['name']}», {outcome['decision']}: {outcome['reason']}" in markdown
        assert f"«{outcome['name']}»" in verdict["reason"] or "discriminate" in verdict["reason"]
    assert "gini@10, lower is better" in page.texts
    assert "| fair (gini@10, lower is better) | " in markdown
    low, high = other[-1]["interval"]
    assert f"{low:+.4f} … {high:+.4f}" in page.texts


def test_relative_gains_say_of_what(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    judge()
    markdown = (OUT / "report.md").read_text("utf-8")
    (line,) = [line for line in markdown.splitlines() if line.startswith("| accuracy held")]
    assert re.search(r"% of champion \(.*\) \| pass \(≥ -5.0%\) \|", line)
    assert any("% of champion" in text for text in Page((OUT / "report.html").read_text("utf-8")).texts)


def test_who_approves_a_run_reads_the_same_rows_as_in_the_report(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    rows = [line for line in approval_tasks.table(judge()) if line.startswith("| ")]
    report = (OUT / "report.md").read_text("utf-8").splitlines()
    assert all(any(line.startswith(row) for line in report) for row in rows)  # the report has one column more
    assert len(rows) == 10  # heading and nine rules


def test_reports_say_what_metrics_references_and_intervals_are(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    judge()
    for report in ("report.md", "report.html"):
        text = (OUT / report).read_text("utf-8")
        assert "from a lower to an upper bound, each of which holds with 95 % confidence" in text
        assert "content recommends the items whose texts are most similar" in text
        assert "evenness of item exposure" in text
        assert "bits" in text
        assert "480 of them the test events on which models are judged" in text


@pytest.mark.drawn
def test_charts_and_tables_can_be_read_out_and_state_their_k(page: Page) -> None:
    html = (OUT / "report.html").read_text("utf-8")
    assert page.tags.count("table") == page.tags.count("thead")
    assert html.count('<svg role="img" aria-label="') == 4
    for label in (">ndcg@10<", ">recall@10<", ">share of all places in the top 10<"):
        assert label in html


def test_a_rule_on_a_slice_is_judged_on_its_users(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("evaluate", {"slices.users": ["country"]})
    rules = [rule(), rule(name="tail", metric="tail_recall@20", min_gain=0.1), rule(name="in DE", slice="country=DE")]
    workspace.params("gate", {"rules": rules})
    verdict = judge()
    assert verdict["verdict"] == "PROMOTE"
    assert [outcome["n_users"] for outcome in verdict["rules"]] == [480, 480, 192]
    assert "ndcg@10 of country=DE" in (OUT / "report.md").read_text("utf-8")
    workspace.params("gate", {"rules": [rule(slice="country=IT")]})
    with pytest.raises(ValueError, match="unknown slice 'country=IT'; expected one of country=DE, country=FR, group"):
        gate.main()


@pytest.mark.drawn
def test_names_from_params_cannot_inject_markup(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("gate", {"rules": [rule(name=HTML_TAG + "|[red]")]})
    judge()
    page = (OUT / "report.html").read_text("utf-8")
    assert HTML_TAG not in page
    assert "&lt;b&gt;bold&lt;/b&gt;|[red]" in page
    markdown = (OUT / "report.md").read_text("utf-8")
    (line,) = [line for line in markdown.splitlines() if line.startswith("| ") and "bold" in line]
    assert HTML_TAG not in line
    assert len(re.findall(r"(?<!\\)\|", line)) == len(rules.COLUMNS) + 1


def printed(verdict: dict[str, Any], width: int = 80) -> str:
    stream = io.StringIO()
    text_report.print_verdict(verdict, Console(file=stream, width=width))
    return stream.getvalue()


def test_the_printed_verdict_fits_80_columns_and_names_rules_and_reason(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    verdict = judge()
    text = printed(verdict)
    assert max(map(len, text.splitlines())) <= 80
    for outcome in verdict["rules"]:
        assert outcome["name"] in text
        assert outcome["metric"] in text
    assert " ".join(verdict["reason"].split()[:4]) in text


def test_markup_in_a_rule_name_is_printed_as_it_is(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1))
    workspace.params("gate", {"rules": [rule(name="[red]x")]})
    assert "[red]x" in printed(judge())


def test_an_interval_is_drawn_in_order() -> None:
    drawn = rules.drawn({"interval": [0.1, 0.5], "effect": 0.3, "threshold": 0.0, "decision": "pass"})
    assert re.fullmatch(r"\| +-+o-+  pass", drawn)


@pytest.mark.parametrize(("undecided", "said"), [(True, "not rejected with confidence: "), (False, "NOT rejected by ")])
def test_a_control_that_no_rule_rejects_is_told_from_one_that_a_rule_cannot_judge(undecided: bool, said: str) -> None:
    control = {"model": "random", "rejected_by": [], "discriminates": False, "undecided": undecided}
    assert rules.by_whom(control).startswith(said)


@pytest.mark.parametrize(
    ("interval", "shown", "line"),
    [
        ([None, 0.5], "no bound … +0.5000", r"<-+\|-+o-+  pass"),
        ([0.1, None], "+0.1000 … no bound", r"\| +-+o-+>  pass"),
        ([None, None], "no bound … no bound", r"<-+\|-+o-+>  pass"),
    ],
)
def test_an_end_without_bound_is_said_and_drawn_to_the_edge(
    interval: list[float | None], shown: str, line: str
) -> None:
    rule = {"interval": interval, "effect": 0.3, "threshold": 0.0, "decision": "pass", "reference": "popularity"}
    rule["bound"] = {"min_gain": 0.0, "relative": False}
    assert rules.interval(rule) == shown
    drawn = rules.drawn(rule)
    assert re.fullmatch(line, drawn)
    assert len(drawn) == rules.BAR + len("  pass")
    bar = rules.bar(rule, width=190)
    assert f'aria-label="{shown}, ' in bar
    low, high = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"', bar)[0]
    assert ((float(low) == 0.0), (float(high) == 190.0)) == tuple(end is None for end in interval)


def test_markdown_of_the_report_draws_every_rule(workspace: Workspace) -> None:
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    verdict = judge()
    markdown = (OUT / "report.md").read_text("utf-8")
    assert markdown.startswith(f"# {verdict['verdict']}\n\n{verdict['reason']}\n")
    for outcome in verdict["rules"]:
        assert f"    {outcome['name']:<24} " in markdown


def test_the_settings_that_come_with_the_project_are_a_policy_that_can_discriminate(workspace: Workspace) -> None:
    assert (workspace.root / "params.yaml").read_text("utf-8") == (REPO / "params.yaml").read_text("utf-8")
    holdouts.write_all(model(knowledge=1), model(knowledge=0.3))
    assert all(control["discriminates"] for control in judge()["controls"])
