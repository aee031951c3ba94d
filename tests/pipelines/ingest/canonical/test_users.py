"""Users of a source: who is accepted, what is kept of them, and how it becomes slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.artifacts import outputs, tables
from pipelines.evaluate import stage as evaluate
from pipelines.forget import forget, source_rows
from pipelines.forget.search import Traces
from pipelines.ingest import stage as ingest
from pipelines.ingest.canonical import pseudonyms
from pipelines.settings.document import load
from pipelines.settings.ingest import Ingest
from pipelines.split import stage as split
from pipelines.train import stage as train
from pipelines.validate import stage as validate
from tests.conftest import Workspace
from tests.pipelines import canonical, holdouts
from tests.pipelines.train.test_train import write_embeddings

KEY = "a secret of the house"
EVENTS = "user_id,item_id\nu1,a\nu1,b\nu2,a\n"
USERS = "user_id,country\nu1,DE\nu2,FR\n"


@pytest.fixture
def source(workspace: Workspace) -> Workspace:
    """A source of one file of interactions and one of users."""
    Path("raw").mkdir()
    write("interactions.csv", EVENTS)
    changes = {"source": "table", "path": "raw", "max_rejected": 1.0, "table.users": ["users*.csv"]}
    workspace.params("ingest", changes)
    return workspace


def write(name: str, text: str) -> None:
    Path("raw", name).write_text(text, "utf-8")


def rows(name: str) -> list[dict[str, Any]]:
    return list(tables.read(Path(f"data/ingest/{name}.parquet")).to_pylist())


def users(text: str) -> list[dict[str, Any]]:
    """The users that ingest finds in a file."""
    write("users.csv", text)
    ingest.main()
    return rows("users")


def rejected() -> list[tuple[str, int, str]]:
    return [(row["file"], row["line"], row["reason"]) for row in rows("rejected")]


def test_users_are_kept_by_id_with_their_columns_as_text(source: Workspace) -> None:
    assert users("country,user_id,age\nFR,u2,25\nDE,0007,\n") == [
        {"user_id": "0007", "country": "DE", "age": ""},
        {"user_id": "u2", "country": "FR", "age": "25"},
    ]


def test_the_first_row_of_a_user_counts_and_every_other_is_accounted_for(
    source: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    found = users(f"user_id,country\nu1,DE\nu2,FR\nu1,AT\n,DE\n{'x' * 257},DE\nu3\n")
    assert found == [{"user_id": "u1", "country": "DE"}, {"user_id": "u2", "country": "FR"}]
    assert rejected() == [
        ("users.csv", 4, "duplicate_user"), ("users.csv", 5, "empty_user_id"), ("users.csv", 6, "bad_user_id"),
        ("users.csv", 7, "wrong_field_count"),
    ]  # fmt: skip
    assert rows("rejected")[0]["detail"] == "the same user_id is on line 2 of users.csv already"
    assert rows("rejected")[0]["raw"] == "u1,AT"
    counts = outputs.read_json(Path("data/ingest/summary.json"))["users"]
    assert (counts["read"], counts["accepted"], counts["rejected"], counts["malformed"]) == (6, 2, 4, 4)
    assert "ingest: users: 6 rows read, 2 accepted, 4 rejected" in capsys.readouterr().out


def test_files_may_have_different_columns_and_types(source: Workspace) -> None:
    source.params("ingest", {"table.users": ["users.csv", "more.parquet"]})
    pq.write_table(pa.table({"user_id": [7, 8], "age": [25, None]}), "raw/more.parquet")
    assert users("user_id,country\nu1,DE\n") == [
        {"user_id": "7", "country": None, "age": "25"},
        {"user_id": "8", "country": None, "age": None},
        {"user_id": "u1", "country": "DE", "age": None},
    ]


def test_the_id_may_have_another_name_than_in_the_interactions(source: Workspace) -> None:
    source.params("ingest", {"table.user_columns": {"user_id": "customer"}})
    assert users("customer,country\nu1,DE\n") == [{"user_id": "u1", "country": "DE"}]
    with pytest.raises(ValueError, match=r"no column 'customer', required by ingest\.table\.user_columns\.user_id"):
        users(USERS)


def test_further_columns_never_hide_ours(source: Workspace) -> None:
    source.params("ingest", {"table.user_columns": {"user_id": "id"}})
    (user,) = users("id,user_id,User_idx,group,history,reason,line\nu1,x,1,niche,5-9,r,3\n")
    assert user == {
        "user_id": "u1", "source_user_id": "x", "source_User_idx": "1", "source_group": "niche",
        "source_history": "5-9", "reason": "r", "line": "3",
    }  # fmt: skip


@pytest.mark.parametrize("other", ["user_id,Country\nu3,DE\n", "user_id,group,source_group\nu3,a,b\n"])
def test_columns_that_would_be_one_to_sql_are_refused(source: Workspace, other: str) -> None:
    write("users-2.csv", other)
    with pytest.raises(ValueError, match=r"the user files have the columns .* rename either"):
        users(USERS)


def test_without_user_files_nobody_is_described(source: Workspace) -> None:
    source.params("ingest", {"table.users": []})
    ingest.main()
    assert tables.read(Path("data/ingest/users.parquet")).schema.equals(tables.USERS)
    assert rows("users") == []
    assert "users" not in outputs.read_json(Path("data/ingest/summary.json"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("user_id,country\nu1,DE\n,FR\n,AT\n", r"66\.67% of 3 rows of users are malformed.*empty_user_id 2"),
        ("user_id,country\n,DE\n", "none of the 1 rows of users was accepted"),
        ("user_id,country\n", r"users\.csv has a header but no rows"),
    ],
)
def test_a_user_file_that_is_mostly_broken_stops_the_run(source: Workspace, text: str, problem: str) -> None:
    source.params("ingest", {"max_rejected": 0.5})
    with pytest.raises(ValueError, match=problem):
        users(text)


def test_pseudonyms_are_those_of_the_interactions_and_nothing_names_a_user(
    source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGTAIL_KEY", KEY)
    source.params("ingest", {"pseudonyms": "LONGTAIL_KEY"})
    write("interactions.csv", "user_id,item_id\nalice-in-w,a\n")
    (user,) = users("user_id,country\nalice-in-w,DE\nalice-in-w,FR\n\x1balice-in-w,FR\nalice-in-w\n")
    assert user == {"user_id": pseudonyms.pseudonym("alice-in-w", KEY.encode()), "country": "DE"}
    assert rows("interactions")[0]["user_id"] == user["user_id"]
    assert [reason for _, _, reason in rejected()] == ["duplicate_user", "bad_user_id", "wrong_field_count"]
    for path in Path("data").rglob("*.parquet"):
        assert "alice" not in str(tables.read(path).to_pylist())


def test_a_forgotten_user_leaves_the_user_files(source: Workspace) -> None:
    write("events[1].csv", EVENTS)
    source.params("ingest", {"path": "raw/events[1].csv", "table.user_columns": {"user_id": "id"}})
    write("users.csv", "country,id\nDE,u1\nFR,u2\nu1,u3\n")
    files = source_rows.sources(load(Ingest))
    assert [(each.file.path.name, each.column) for each in files] == [("events[1].csv", "user_id"), ("users.csv", "id")]
    assert [source_rows.rewrite(file, "u1", dry=False) for file in files] == [True, True]
    assert Path("raw/users.csv").read_text() == "country,id\nFR,u2\nu1,u3\n"
    assert Path("raw/events[1].csv").read_text() == "user_id,item_id\nu2,a\n"


def test_what_ingest_wrote_of_a_user_is_found(source: Workspace) -> None:
    users(USERS + "silent,DE\n")
    traces = Traces(["silent"])  # who has no interactions, but a row among users
    assert forget.named_in(Path("data/ingest"), traces)


def test_the_users_of_the_one_million_ratings_have_gender_age_and_occupation(workspace: Workspace) -> None:
    Path("ml").mkdir()
    for name, text in {
        "ratings.dat": "1::10::5::978300760\n2::10::4::978300761\n", "movies.dat": "10::Cats (1998)::Musical\n",
        "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
    }.items():  # fmt: skip
        Path("ml", name).write_text(text)
    workspace.params("ingest", {"source": "movielens", "path": "ml"})
    ingest.main()
    assert rows("users") == [
        {"user_id": "1", "gender": "F", "age": "1", "occupation": "10"},
        {"user_id": "2", "gender": "M", "age": "56", "occupation": "16"},
    ]
    files = source_rows.sources(load(Ingest))
    assert [each.file.path.name for each in files] == ["ratings.dat", "users.dat"]
    assert source_rows.rewrite(files[1], "1", dry=False)
    assert Path("ml/users.dat").read_text() == "2::M::56::16::70072\n"


@pytest.mark.slow
def test_a_column_of_the_users_becomes_slices(source: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """From the files of the source to slices.csv; whoever is in none of them, or says nothing, is in no slice."""
    events = canonical.rows(60, 40, per_user=12)
    write("interactions.csv", "user_id,item_id\n" + "".join(f"{user},{item}\n" for user, item, _, _ in events))
    countries = {f"u{u:03}": ("DE", "FR", "")[u % 3] for u in range(50)} | {"stranger": "DE"}
    write("users.csv", "user_id,country\n" + "".join(f"{user},{name}\n" for user, name in countries.items()))
    source.params("validate", {"min_interactions": 100, "min_items": 40, "max_empty_text": 1.0, "max_same_text": 1.0})
    source.params("split", {"strategy": "hash", "test": 0.2})
    source.params("train", {"als.embedding_dim": 4, "als.epochs": 2})
    source.params("evaluate", {"slices.users": ["country"], "references": ["popularity"]})

    for stage in (ingest, validate, split):
        stage.main()
    write_embeddings()
    train.main()
    holdouts.write_champion(None)
    evaluate.main()

    assert "split: 50 of 60 users are in the user files" in capsys.readouterr().out
    of_users = tables.read(Path("data/split/users.parquet"))
    assert of_users.column_names == ["user_idx", "user_id", "country"]
    found = dict(zip(of_users["user_id"].to_pylist(), of_users["country"].to_pylist(), strict=True))
    assert found == {f"u{u:03}": countries.get(f"u{u:03}") for u in range(60)}
    tested = set(tables.read(Path("data/split/test.parquet"))["user_idx"].to_pylist())
    judged = [user for idx, user in enumerate(of_users["user_id"].to_pylist()) if idx in tested]
    expected = {name: sum(found[user] == name for user in judged) for name in ("DE", "FR")}
    slices = tables.read_csv(Path("data/evaluate/slices.csv"))
    told = zip(*(slices[column] for column in ("slicing", "model", "slice", "n")), strict=True)
    mine = {name: int(n) for slicing, model, name, n in told if (slicing, model) == ("country", "candidate")}
    assert mine == expected
    assert min(expected.values()) > 5


def test_a_column_that_split_writes_itself_is_refused(workspace: Workspace) -> None:
    schema = tables.USERS.append(pa.field("user_idx", pa.string()))
    described = pa.table({"user_id": ["u000"], "user_idx": ["1"]}, schema=schema)
    canonical.write_ingest(
        canonical.interactions(canonical.rows(60, 40)), canonical.catalogue(canonical.item_ids(40)), described
    )
    canonical.write_validate()
    with pytest.raises(ValueError, match="has a column 'user_idx', a name that split uses"):
        split.main()
