"""`source: movielens`: a folder as distributed by GroupLens; ratings from a threshold on are positives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.ingest.canonical import interactions, items, judgement
from pipelines.ingest.canonical import users as canonical_users
from pipelines.ingest.canonical.ledger import Intake, Rows
from pipelines.ingest.formats.format import File
from pipelines.ingest.formats.records import Dialect
from pipelines.settings.ingest import Abuse, ItemColumns, MovieLens, TableColumns, UserColumns

COLUMNS = {
    "ratings": ["userId", "movieId", "rating", "timestamp"],
    "movies": ["movieId", "title", "genres"],
    "tags": ["userId", "movieId", "tag", "timestamp"],
    "users": ["userId", "gender", "age", "occupation", "zipcode"],
}
KEPT = ("userId", "gender", "age", "occupation")  # of a user; a zip code has too many values to be a category
FORMAT = "GroupLens' format"
MAX_TAGS = 20  # of a movie; with title and genres they fit into the encoder's window
TEXT = "{title}. {genres}. {tags}"


@dataclass(frozen=True)
class Release:
    """Folder with ratings, movies, optionally tags and users: CSV files with header, or `.dat` files without."""

    folder: Path
    suffix: str

    def path(self, kind: str) -> Path:
        return self.folder / f"{kind}{self.suffix}"

    def has(self, kind: str) -> bool:
        """Return whether a file of this kind exists; only releases of `.dat` files have users."""
        return self.path(kind).is_file() and (kind != "users" or self.suffix == ".dat")

    def file(self, kind: str) -> File:
        """Return one of the files."""
        path = self.path(kind)
        if self.suffix == ".dat":
            return File(path, path.name, Dialect("::", None), COLUMNS[kind])
        return File(path, path.name, Dialect(",", '"'))

    def read(self, intake: Intake, kind: str, table: str) -> Rows:
        """Return the rows of one of the files, which must have the columns documented by GroupLens."""
        file = self.file(kind)
        if kind == "movies" and self.suffix == ".dat":
            file = replace(file, path=as_utf8(intake.stage.raw_input(file.path), intake.scratch))
        rows = intake.read(table, file)
        for column in COLUMNS[kind]:
            rows.text(column, FORMAT)
        return rows


def collect(intake: Intake, path: Path, params: MovieLens, *, until: str | None, abuse: Abuse) -> None:
    """Read a release into `events`, `items` and `users`.

    The text of a movie is its title, genres and most frequent tags; 1m has gender, age and occupation of users.
    """
    release = find(path)
    movies = release.read(intake, "movies", "items")
    genres = movies.text("genres", FORMAT)
    readable = f"replace(replace({genres}, '(no genres listed)', ''), '|', ', ')"
    rows = replace(
        movies, columns=movies.columns | {"genres": readable, "tags": "''"}, types=movies.types | {"tags": "VARCHAR"}
    )
    if params.tags and release.has("tags"):
        tags_of_movies(intake, release.read(intake, "tags", "tags"), movies)
        movie = movies.id("movieId", FORMAT)
        joined = f"(select m.*, t.tags from {movies.relation} m left join tags_of_movies t on t.item_id = {movie})"
        rows = replace(rows, relation=joined, columns=rows.columns | {"tags": "coalesce(tags, '')"})
    items.collect(intake, [rows], ItemColumns(item_id="movieId", title="title"), TEXT)
    users = [release.read(intake, "users", "users")] if release.has("users") else []
    described = [replace(rows, columns={name: rows.columns[name] for name in KEPT}) for rows in users]
    canonical_users.collect(intake, described, UserColumns(user_id="userId"))
    interactions.collect(
        intake,
        [release.file("ratings")],
        judgement.Rules(
            columns=TableColumns(user_id="userId", item_id="movieId", value="rating", timestamp="timestamp"),
            named_by=FORMAT,
            unit="s",
            min_value=params.min_rating,
            until=until,
            catalogue=True,
            abuse=abuse,
        ),
    )


def tags_of_movies(intake: Intake, tags: Rows, movies: Rows) -> None:
    """Fill the table `tags_of_movies`: per movie its tags by number of users, then by name."""
    intake.judge(
        "tags",
        f"""select '{tags.file}' as file, line,
              {tags.id("userId", FORMAT)} as user_id, {tags.id("movieId", FORMAT)} as item_id,
              lower({items.tidy(tags.text("tag", FORMAT))}) as tag, {tags.raw} as raw
            from {tags.relation}""",
        [
            *items.id_checks("item_id"),
            ("empty_tag", "tag = ''", "'tag is empty'"),
            (
                "unknown_item",
                f"item_id not in (select {movies.id('movieId', FORMAT)} from {movies.relation})",
                "concat('movie ', item_id, ' is not in the movies file')",
            ),
        ],
    )
    intake.con.execute(
        f"""create table tags_of_movies as
            select item_id, string_agg(tag, ', ' order by users desc, tag) as tags
            from (select item_id, tag, count(distinct user_id) as users from judged
                  where reason is null group by item_id, tag
                  qualify row_number() over (partition by item_id order by users desc, tag) <= {MAX_TAGS})
            group by item_id"""
    )


def find(path: Path) -> Release:
    """Return the release in a folder, or in the one folder inside it that contains a release (as in its zip file)."""
    if not path.is_dir():
        raise FileNotFoundError(
            f"{path} is not a folder; set ingest.path to the unpacked release, or ingest.url to its zip file"
        )
    for folder in [path, *sorted(child for child in path.iterdir() if child.is_dir())]:
        for suffix in (".csv", ".dat"):
            release = Release(folder, suffix)
            if release.path("ratings").is_file():
                if release.path("movies").is_file():
                    return release
                raise FileNotFoundError(f"{release.path('movies')} is missing from the release; unpack it again")
    raise FileNotFoundError(
        f"{path} has no MovieLens release: expected ratings.csv and movies.csv (latest, latest-small, 20m, 25m, 32m) "
        "or ratings.dat and movies.dat (1m, 10m); read others, such as 100k, with ingest.source table"
    )


def as_utf8(path: Path, scratch: Path) -> Path:
    """Return movies in UTF-8: those of 1m are Latin-1, those of 10m are UTF-8 already."""
    data = path.read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        path = scratch / path.name
        path.write_text(data.decode("latin-1"), "utf-8")
    return path
