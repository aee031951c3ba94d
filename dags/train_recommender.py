"""Train, judge, package and promote a recommender: one task per stage of `dvc.yaml`, one worktree per run.

The form overrides settings of `params.yaml`; unchanged fields keep the settings there. The branch after the gate shows
the verdict; a run with a rejected candidate succeeds and promotes nothing. The run's settings, `dvc.lock` and verdict
are kept at `refs/longtail/runs/`, its outputs in DVC's cache.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, Param, TaskGroup, task, yaml
from asset_events import newest
from longtail_tasks import (
    CANDIDATE,
    CHECKOUT,
    DEFAULTS,
    HOW,
    MESSAGE,
    NEW_INTERACTIONS,
    PROMOTED,
    SETTINGS,
    CleanUp,
    Command,
    Gate,
    Outcome,
    Stage,
)

GROUPS = {
    "data": ("ingest", "validate", "split"),
    "model": ("embed", "train"),
    "judgement": ("champion", "evaluate", "gate"),
    "release": ("package",),
}
AS_CONFIGURED = "params.yaml"
# every family of models has a section of its own in params.yaml, with the number of its epochs
MODELS = [name for name, value in SETTINGS["train"].items() if isinstance(value, dict) and "epochs" in value]


def stages() -> dict[str, set[str]]:
    """Return, for each stage, the stages whose outputs it reads."""
    listed: dict[str, Any] = yaml.safe_load((CHECKOUT / "dvc.yaml").read_text("utf-8"))["stages"]
    return {
        name: {
            other
            for other in listed
            for dep in stage["deps"]
            if other != name and (dep == f"data/{other}" or dep.startswith(f"data/{other}/"))
        }
        for name, stage in listed.items()
    }


def now(key: str) -> Any:
    """Return the value of a key of params.yaml, such as `train.als.epochs`."""
    value: Any = SETTINGS
    for part in key.split("."):
        value = value[part]
    return value


def shown(value: Any) -> str:
    """Return a value of params.yaml in words."""
    if value is None or value == []:
        return "empty"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def key(name: str, kind: str, title: str, text: str = "", *, section: str, **schema: Any) -> tuple[str, Param]:
    """Return an optional form field for a key of params.yaml, which its small print names."""
    small = f"{text}{'. ' * bool(text)}{name}, now {shown(now(name))}"
    return name, Param(None, small, type=["null", kind], title=title, section=section, **schema)


UNSET = {"null": AS_CONFIGURED}  # label of an empty choice
DATA, MODEL, RULES = "Data", "Model", "Rules of the gate"
FORM = {
    "source": Param(
        AS_CONFIGURED,
        f"{AS_CONFIGURED}: {now('ingest.source')}. movielens small: downloaded, 100,000 ratings. movielens (a folder) "
        f"and table: set the path under {DATA}",
        type="string", enum=[AS_CONFIGURED, "demo", "tiny demo", "movielens small", "movielens", "table"],
        title="Data source",
    ),
    "tail_share": Param(
        None, "Share of interactions of the least popular items, which are the tail. "
        f"1 - split.head, now {1 - now('split.head'):.2g}",
        type=["null", "number"], minimum=0.01, maximum=0.9, title="Tail share",
    ),
    "gate": Param(
        AS_CONFIGURED, f"Confidence that each rule needs. {AS_CONFIGURED}: {now('gate.confidence'):.0%}, strict: 99%, "
        "lenient: 90%", type="string", enum=[AS_CONFIGURED, "strict", "lenient"], title="Strictness of the gate",
    ),
    "promotion": Param(
        "auto", "After the verdict PROMOTE. auto: promote. manual: ask a person in approve_promotion. never: keep the "
        "serving version", type="string", enum=["auto", "manual", "never"], title="Promotion",
    ),
    "note": Param(
        None, "Reason for this run, shown in its note, its approval and the lineage", type=["null", "string"],
        maxLength=1000, title="Note",
    ),
    **dict([
        key("ingest.path", "string", "Path", "Folder or file of movielens or table", section=DATA),
        key("ingest.url", "string", "URL", "File or zip to download, instead of a path", section=DATA,
            pattern="^(https?://.*)?$"),
        key("ingest.sha256", "string", "SHA-256 of the download", section=DATA, pattern="^([0-9a-f]{64})?$"),
        key("ingest.until", "string", "First excluded day", "Such as 2025-01-01", section=DATA,
            pattern=r"^(\d{4}-\d{2}-\d{2})?$"),
        key("ingest.table.interactions", "array", "Files of interactions", "Names or globs below the path, a line each",
            section=DATA),
        key("ingest.table.columns.user_id", "string", "Column of user ids", section=DATA),
        key("ingest.table.columns.item_id", "string", "Column of item ids", section=DATA),
        key("ingest.table.columns.value", "string", "Column of values", "Such as ratings or counts", section=DATA),
        key("ingest.table.columns.timestamp", "string", "Column of timestamps", section=DATA),
        key("ingest.table.timestamp_unit", "string", "Unit of timestamps", section=DATA,
            enum=[None, "s", "ms", "us", "iso"], values_display=UNSET),
        key("ingest.table.min_value", "number", "Lowest value of a positive", "Rows below are dropped", section=DATA),
        key("ingest.table.delimiter", "string", "Delimiter of text files", section=DATA),
        key("ingest.table.items", "array", "Files of the catalogue", "Names or globs below the path, a line each",
            section=DATA),
        key("ingest.table.item_columns.item_id", "string", "Column of item ids in the catalogue", section=DATA),
        key("ingest.table.item_columns.title", "string", "Column of titles in the catalogue", section=DATA),
        key("ingest.table.text", "string", "Text of an item", "Columns of the catalogue in braces", section=DATA),
        key("ingest.demo.users", "integer", "Users of the demo", section=DATA, minimum=10, maximum=10_000_000),
        key("ingest.demo.items", "integer", "Items of the demo", section=DATA, minimum=20, maximum=10_000_000),
        key("ingest.demo.events", "integer", "Events of the demo", section=DATA, minimum=100, maximum=1_000_000_000),
        key("train.model", "string", "Model family", section=MODEL, enum=[None, *MODELS],
            values_display=UNSET),
        key("train.als.embedding_dim", "integer", "Embedding dimension of ALS", section=MODEL, minimum=1, maximum=4096),
        key("train.als.epochs", "integer", "Epochs of ALS", section=MODEL, minimum=1, maximum=1000),
        key("train.search.trials", "integer", "Search trials", section=MODEL, minimum=0, maximum=10_000),
        key("train.rerank.max_ndcg_loss", "number", "Maximum NDCG loss by tail re-ranking", section=MODEL, minimum=0,
            maximum=1),
        key("train.seed", "integer", "Random seed", section=MODEL, minimum=0),
        key("gate.confidence", "number", "Confidence per rule", "Instead of the strictness", section=RULES,
            exclusiveMinimum=0.5, exclusiveMaximum=1),
        key("gate.accept_shrink", "string", "Champion that may shrink",
            "Version, such as v3.0.0, that may be replaced with fewer items or users, or data of another source",
            section=RULES, pattern=r"^(v\d+\.\d+\.\d+)?$"),
    ]),
    "revision": Param(
        None, "Branch, tag or commit to run. Empty: the checkout with its uncommitted changes",
        type=["null", "string"], maxLength=200, title="Revision", section="Anything else",
    ),
    "overrides": Param(
        None, 'Other keys of params.yaml, such as {"train.als.cg_steps": 2}. They are validated before the first stage',
        type=["null", "object"], title="Further settings", section="Anything else",
    ),
}  # fmt: skip
CRON = HOW["schedule"]


class AskForApproval(TriggerDagRunOperator):
    """Trigger a run of approve_promotion for this candidate alone, and announce the candidate as an asset."""

    def execute(self, context: Any) -> None:
        reason = context["ti"].xcom_pull(task_ids="judgement.gate")["reason"]
        context["outlet_events"][CANDIDATE].extra = {"run_id": context["ti"].run_id, "reason": reason}
        context["ti"].xcom_push(key=MESSAGE, value="A person is asked by a run of approve_promotion with the same id.")
        super().execute(context)


with DAG(
    "train_recommender",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable(CRON, timezone="UTC"), assets=[NEW_INTERACTIONS])
    if CRON
    else [NEW_INTERACTIONS],
    catchup=False,
    is_paused_upon_creation=False,
    max_active_runs=HOW["parallel_runs"],
    params=FORM,
    render_template_as_native_obj=False,
    user_defined_filters={"newest": newest},
    default_args=DEFAULTS,
    tags=["longtail"],
    doc_md=__doc__,
) as dag:

    @task.branch
    def decide(ti: Any = None) -> str:
        """Choose the branch of the verdict."""
        judged = ti.xcom_pull(task_ids="judgement.gate")
        print(f"{judged['verdict']}: {judged['reason']}")
        return {"PROMOTE": "release.package", "HOLD": "hold", "REJECT": "reject"}[judged["verdict"]]

    @task.branch
    def who_promotes(params: Any = None) -> str:
        """Choose who promotes, by the form: this run, a person, or nobody."""
        return (
            "release."
            + {"auto": "promote", "manual": "ask_for_approval", "never": "promote_nothing"}[params["promotion"]]
        )

    run = {"run_id": "{{ run_id }}"}
    attempt = {"attempt": "{{ ti.try_number | tojson }}"}
    start = {
        "form": "{{ params | tojson }}",
        "data": "{{ triggering_asset_events | newest | tojson }}",
        "created": "{{ dag_run.run_after | string }}",
    }
    prepare = Command(task_id="prepare", action="prepare", arguments={**run, **start})
    tasks = {}
    groups = {name: TaskGroup(name) for name in GROUPS}
    for name, upstream in stages().items():
        home = next((groups[group] for group, members in GROUPS.items() if name in members), None)
        tasks[name] = (Gate if name == "gate" else Stage)(stage=name, task_group=home)
        tasks[name].set_upstream([tasks[other] for other in sorted(upstream)] or prepare)
    decision = decide()
    tasks["gate"] >> decision >> tasks["package"]
    with groups["release"]:
        promote = Command(
            task_id="promote", action="promote", arguments={**run, **attempt, "judge_again": True}, outlets=[PROMOTED]
        )
        ask = AskForApproval(
            task_id="ask_for_approval",
            trigger_dag_id="approve_promotion",
            trigger_run_id="{{ run_id }}",
            conf=run,
            logical_date=None,
            reset_dag_run=True,  # a verdict that was given again is asked about again
            openlineage_inject_parent_info=False,
            outlets=[CANDIDATE],
        )
        endings = [promote, ask, EmptyOperator(task_id="promote_nothing")]
        tasks["package"] >> who_promotes() >> endings
    # outside the groups: their rows of the grid tell the verdicts of all runs
    stops = [EmptyOperator(task_id="hold"), EmptyOperator(task_id="reject")]
    decision >> stops
    clean_up = CleanUp(task_id="clean_up", action="clean_up", arguments={**run, **attempt}, trigger_rule="all_done")
    [decision, *stops, groups["release"]] >> clean_up.as_teardown()
    ends = [end.task_id for end in (*endings, *stops)]
    outcome = Outcome(task_id="outcome", ends=ends, decisive=[promote.task_id])
    clean_up >> outcome.as_teardown(on_failure_fail_dagrun=True)
