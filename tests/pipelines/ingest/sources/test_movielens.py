"""`source: movielens`: the releases of GroupLens, in the shapes they come in."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import outputs, tables
from pipelines.ingest import stage as ingest
from tests.conftest import Workspace

CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.0,964982703\n1,20,3.5,964982704\n2,10,5.0,964982705\n",
    "movies.csv": 'movieId,title,genres\n10,"Matrix, The (1999)",Action|Sci-Fi\n20,Émile (2003),(no genres listed)\n',
    "tags.csv": "userId,movieId,tag,timestamp\n"
    "1,10,hackers,964982703\n2,10,Dystopia,964982703\n3,10,dystopia ,964982703\n3,10,  ,964982703\n3,99,x,964982703\n",
}
DAT = {
    "ratings.dat": "1::10::5::978300760\n2::20::4::978300761\n2::10::1::978300762\n",
    "movies.dat": '10::"Great Performances" Cats (1998)::Musical\n20::Misérables, Les (1995)::Drama|Musical\n',
}


def release(folder: Path, files: dict[str, str], encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding)
    return folder


def run(workspace: Workspace, path: str, **changes: Any) -> dict[str, list[dict[str, Any]]]:
    workspace.params("ingest", {"source": "movielens", "path": path, "max_rejected": 0.3} | changes)
    ingest.main()
    names = ("interactions", "items", "rejected")
    return {name: list(tables.read(Path(f"data/ingest/{name}.parquet")).to_pylist()) for name in names}


def test_high_ratings_are_positives_and_text_is_title_genres_tags(workspace: Workspace) -> None:
    release(workspace.root / "ml", CSV)
    out = run(workspace, "ml")
    assert [(r["user_id"], r["item_id"], r["value"]) for r in out["interactions"]] == [
        ("1", "10", 4.0),
        ("2", "10", 5.0),
    ]
    assert [item["text"] for item in out["items"]] == [
        "Matrix, The (1999). Action, Sci-Fi. dystopia, hackers",  # two users said dystopia, one said hackers
        "Émile (2003).",
    ]
    assert [(row["file"], row["line"], row["reason"]) for row in out["rejected"]] == [
        ("ratings.csv", 3, "below_min_value"), ("tags.csv", 5, "empty_tag"), ("tags.csv", 6, "unknown_item"),
    ]  # fmt: skip


def test_the_tags_can_be_left_out(workspace: Workspace) -> None:
    release(workspace.root / "ml", CSV)
    out = run(workspace, "ml", **{"movielens.tags": False})
    assert "dystopia" not in out["items"][0]["text"]
    assert {row["file"] for row in out["rejected"]} == {"ratings.csv"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_the_older_releases_are_read(workspace: Workspace, encoding: str) -> None:
    release(workspace.root / "ml", DAT, encoding)
    out = run(workspace, "ml")
    assert [item["title"] for item in out["items"]] == ['"Great Performances" Cats (1998)', "Misérables, Les (1995)"]
    assert [(r["user_id"], r["item_id"]) for r in out["interactions"]] == [("1", "10"), ("2", "20")]
    assert [row["line"] for row in out["rejected"]] == [3]


def test_what_was_read_is_recorded_before_it_is_decoded(workspace: Workspace) -> None:
    release(workspace.root / "ml", DAT, "latin-1")
    run(workspace, "ml")
    inputs = outputs.read_manifest(Path("data/ingest"))["inputs"]
    assert inputs == {f"ml/{name}": outputs.sha256(Path("ml") / name) for name in DAT}


def test_a_release_inside_the_folder_or_a_zip_is_found(workspace: Workspace) -> None:
    release(workspace.root / "ml" / "ml-tiny", CSV)
    found = run(workspace, "ml")
    with zipfile.ZipFile("ml.zip", "w") as archive:
        for name, text in CSV.items():
            archive.writestr(f"ml-tiny/{name}", text)
    assert run(workspace, "ml.zip") == found


def test_a_folder_without_a_release_says_which_are_read(workspace: Workspace) -> None:
    release(workspace.root / "ml-100k", {"u.data": "1\t2\t3\t4\n"})
    with pytest.raises(FileNotFoundError, match=r"has no MovieLens release: .*25m, 32m.*100k"):
        run(workspace, "ml-100k")


def test_ratings_without_movies_are_refused(workspace: Workspace) -> None:
    release(workspace.root / "ml", {"ratings.csv": CSV["ratings.csv"]})
    with pytest.raises(FileNotFoundError, match=r"movies\.csv is missing"):
        run(workspace, "ml")


def test_a_column_that_grouplens_promises_must_be_there(workspace: Workspace) -> None:
    release(workspace.root / "ml", CSV | {"ratings.csv": "userId,movieId,stars,timestamp\n1,10,4,964982703\n"})
    with pytest.raises(ValueError, match="no column 'rating', required by GroupLens' format"):
        run(workspace, "ml")


@pytest.mark.slow
def test_ml_latest_small_is_accounted_for(workspace: Workspace, shared_data: Path) -> None:
    out = run(workspace, str(shared_data / "ml-latest-small"), max_rejected=0.0)
    assert (len(out["interactions"]), len(out["items"]), len(out["rejected"])) == (48_580, 9_742, 52_256)
    toy_story = next(item for item in out["items"] if item["item_id"] == "1")
    assert toy_story["text"] == "Toy Story (1995). Adventure, Animation, Children, Comedy, Fantasy. pixar, fun"
