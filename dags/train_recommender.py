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
    NEW_INTERACTIONS,
    PROMOTED,
    SETTINGS,
    CleanUp,
    Command,
    Gate,
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


def key(name: str, kind: str, text: str, *, section: str, **schema: Any) -> tuple[str, Param]:
    """Return an optional form field for a key of params.yaml."""
    text = f"{text} (`{name}`, now {now(name)!r})"
    return name, Param(None, text, type=["null", kind], title=name, section=section, **schema)


FORM = {
    "source": Param(
        AS_CONFIGURED,
        f"Training data; params.yaml has {now('ingest.source')}. 'movielens small' is downloaded; "
        "for 'movielens' (a folder) and 'table', set the path in section 'Data'",
        type="string", enum=[AS_CONFIGURED, "demo", "tiny demo", "movielens small", "movielens", "table"],
        title="Data source",
    ),
    "tail_share": Param(
        None, f"Share of interactions of the least popular items (the tail); now {1 - now('split.head'):.2g}",
        type=["null", "number"], minimum=0.01, maximum=0.9, title="Tail share",
    ),
    "gate": Param(
        AS_CONFIGURED, "Confidence of the gate: strict 99 %, lenient 90 %; the rules are those of params.yaml",
        type="string", enum=[AS_CONFIGURED, "strict", "lenient"], title="Gate",
    ),
    "promotion": Param(
        "auto", "After the verdict PROMOTE: promote, ask a person (manual, DAG approve_promotion), or never promote",
        type="string", enum=["auto", "manual", "never"], title="Promotion",
    ),
    "note": Param(None, "Reason for this run, recorded with it", type=["null", "string"], maxLength=1000, title="Note"),
    **dict([
        key("ingest.path", "string", "Folder or file of the source movielens or table", section="Data", minLength=1),
        key("ingest.url", "string", "URL of a file or zip, instead of a path", section="Data", pattern="^https?://"),
        key("ingest.sha256", "string", "SHA-256 of the download", section="Data", pattern="^[0-9a-f]{64}$"),
        key("ingest.until", "string", "First excluded day", section="Data", pattern=r"^\d{4}-\d{2}-\d{2}$"),
        key("ingest.table.interactions", "array", "Interaction files or globs, one per line", section="Data"),
        key("ingest.table.items", "array", "Catalogue files or globs, one per line", section="Data"),
        key("ingest.table.columns", "object", "Column names of user_id, item_id, value and timestamp", section="Data"),
        key("ingest.demo.users", "integer", "Users of the demo", section="Data", minimum=10, maximum=10_000_000),
        key("ingest.demo.items", "integer", "Items of the demo", section="Data", minimum=20, maximum=10_000_000),
        key("ingest.demo.events", "integer", "Events of the demo", section="Data", minimum=100, maximum=1_000_000_000),
        key("train.model", "string", "Model family", section="Model", enum=[None, *MODELS]),
        key("train.als.embedding_dim", "integer", "Embedding dimension", section="Model", minimum=1, maximum=4096),
        key("train.als.epochs", "integer", "Training epochs", section="Model", minimum=1, maximum=1000),
        key("train.search.trials", "integer", "Search trials", section="Model", minimum=0, maximum=10_000),
        key(
            "train.rerank.max_ndcg_loss", "number", "Maximum NDCG loss for tail re-ranking", section="Model",
            minimum=0, maximum=1,
        ),
        key("train.seed", "integer", "Random seed", section="Model", minimum=0),
        key(
            "gate.confidence", "number", "Confidence level per rule", section="Gate",
            exclusiveMinimum=0.5, exclusiveMaximum=1,
        ),
        key(
            "gate.accept_shrink", "string", "Version of the champion that may be replaced with fewer items or users, "
            "or with data from another source", section="Gate", pattern=r"^v\d+\.\d+\.\d+$",
        ),
    ]),
    "revision": Param(
        None, "Branch, tag or commit to run; empty: the checkout with its uncommitted changes",
        type=["null", "string"], minLength=1, maxLength=200, title="Revision", section="Anything else",
    ),
    "overrides": Param(
        None, 'Other keys of params.yaml, such as {"train.als.cg_steps": 2}; validated before the first stage',
        type=["null", "object"], title="Overrides", section="Anything else",
    ),
}  # fmt: skip
CRON = HOW["schedule"]


class AskForApproval(TriggerDagRunOperator):
    """Trigger a run of approve_promotion for this candidate alone, and announce the candidate as an asset."""

    def execute(self, context: Any) -> None:
        reason = context["ti"].xcom_pull(task_ids="judgement.gate")["reason"]
        context["outlet_events"][CANDIDATE].extra = {"run_id": context["ti"].run_id, "reason": reason}
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
        return "release." + {"PROMOTE": "package", "HOLD": "hold", "REJECT": "reject"}[judged["verdict"]]

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
        decision >> [EmptyOperator(task_id="hold"), EmptyOperator(task_id="reject")]
    clean_up = CleanUp(task_id="clean_up", action="clean_up", arguments={**run, **attempt}, trigger_rule="all_done")
    [decision, groups["release"]] >> clean_up.as_teardown()
