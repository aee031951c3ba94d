"""The store of feedback events: each is stored once, and acknowledged only when a crash can no longer lose it.

SQLite (write-ahead log, synchronous=FULL) unless LONGTAIL_FEEDBACK_DB names another database by its SQLAlchemy URL,
such as postgresql+psycopg://user@host/name. Any number of processes share a store.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_type_hints

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from models.inference import event_bounds, feedback_event
from models.inference.feedback_event import FIELDS, POSITIVE, Event

NEWEST = 1000  # distinct items of a user that are used
BUSY_SECONDS = 10  # that a SQLite writer waits for others
# that a reader on the request path waits; only an exclusive lock on the whole file makes it wait
GLANCE_SECONDS = 0.05

TYPES: dict[Any, Any] = {
    str: sa.String(event_bounds.MAX_ID),
    feedback_event.Kind: sa.String(16),
    float: sa.Double(),
}


def column(name: str, hint: Any) -> sa.Column[Any]:
    """Return the column of an event's field; it may be null if the field may be None."""
    kind = next(sql for python, sql in TYPES.items() if hint in (python, python | None))
    return sa.Column(name, kind, nullable=NoneType in get_args(hint), unique=name == "event_id" or None)


METADATA = sa.MetaData()
STORE = sa.Table(feedback_event.STORE, METADATA, sa.Column("store_id", sa.String(8), primary_key=True))
EVENTS = sa.Table(
    feedback_event.EVENTS,
    METADATA,
    # SQLite reuses rowids without AUTOINCREMENT; exports rely on growing numbers
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    *(column(name, hint) for name, hint in get_type_hints(Event).items()),
    sa.Column("received", sa.Double, nullable=False),  # seconds since 1970; `timestamp` is of the client, if it has one
    sa.Index(f"{feedback_event.EVENTS}_of_user", "user_id", "seq"),
    sqlite_autoincrement=True,
)


Outcome = Literal["stored", "duplicate", "conflict"]


def default_url() -> str:
    """Return the URL of the configured store, or of a file beside the BentoML store."""
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml").absolute()
    return os.environ.get("LONGTAIL_FEEDBACK_DB") or f"sqlite:///{home}/longtail-feedback.sqlite"


class Events:
    """A store by its URL; opened, and created if missing, at its first use."""

    def __init__(self, url: str | None = None, seconds: float | None = None) -> None:
        """Keep the URL; seconds: deadline of each answer of a database server; None: none."""
        self.url, self.seconds = sa.make_url(url or default_url()), seconds
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._lock = threading.Lock()
        self._engine: sa.Engine | None = None

    def exists(self) -> bool:
        """Return False if the store's file is missing: reading shall not create it."""
        return not self.is_sqlite or self._engine is not None or Path(self.url.database or "").is_file()

    @property
    def engine(self) -> sa.Engine:
        """Open the store; raises SQLAlchemyError or OSError if that fails."""
        with self._lock:
            if self._engine is None:
                self._engine = self._open()
            return self._engine

    def _open(self) -> sa.Engine:
        if not self.is_sqlite:
            engine = sa.create_engine(self.url, pool_pre_ping=True, hide_parameters=True)
            if self.seconds is not None:
                from bento.feedback import impatient  # the driver takes 5 MB, which a store in a file does not need

                impatient.limit(engine, self.seconds)
            with engine.begin() as con:
                con.execute(
                    sa.text("select pg_advisory_xact_lock(7305)")
                )  # workers start together; one creates the table
                create(con)
            return engine
        path = Path(self.url.database or "")
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.url.database not in (None, "", ":memory:"):
            close(path)
        engine = sa.create_engine(
            self.url,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
            hide_parameters=True,
        )
        sa.event.listen(engine, "connect", durable)
        sa.event.listen(engine, "begin", immediate)
        with engine.connect().execution_options(longtail_reads=GLANCE_SECONDS) as con:
            exists = sa.inspect(con).has_table(STORE.name) and con.execute(sa.select(STORE.c.store_id)).first()
            is_complete = exists and not absent(con)
        if not is_complete:  # otherwise readers would wait for the writers
            with engine.begin() as con:
                create(con)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # SQLite syncs the file, but not the folder entry of a new one
        finally:
            os.close(folder)
        return engine

    def add(self, events: Sequence[Event]) -> list[Outcome]:
        """Store events in one transaction; they are durable when this returns.

        A repeated id is a duplicate if the content is the same, otherwise a conflict; neither changes the store.
        """
        first = {event.event_id: event for event in reversed(events)}  # the first of each id counts
        rows = [{**asdict(event), "received": time.time()} for event in reversed(first.values())]
        with self.engine.begin() as con:
            stored = self._insert(con, rows)
            known = {event_id: event for event_id, event in first.items() if event_id not in stored}
            kept = {event.event_id: event for event in read(con, known)} if known else {}
        outcomes: list[Outcome] = []
        for event in events:
            same = event == (first[event.event_id] if event.event_id in stored else kept[event.event_id])
            is_new = event.event_id in stored
            stored.discard(event.event_id)
            kept.setdefault(event.event_id, first[event.event_id])
            outcomes.append("stored" if is_new and same else "duplicate" if same else "conflict")
        return outcomes

    def _insert(self, con: sa.Connection, rows: list[dict[str, Any]]) -> set[str]:
        """Insert new rows and return their ids; in sorted order, since otherwise two writers could deadlock."""
        insert: Any = sqlite.insert(EVENTS) if self.is_sqlite else postgresql.insert(EVENTS)
        new: set[str] = set()
        ordered = rows if self.is_sqlite else sorted(rows, key=lambda row: row["event_id"])
        for start in range(0, len(ordered), 100):  # within SQLite's limit on parameters
            statement = insert.values(ordered[start : start + 100]).on_conflict_do_nothing()
            new.update(con.execute(statement.returning(EVENTS.c.event_id)).scalars())
        return new

    def probe(self) -> None:
        """Insert an event and delete it, durably, as a write test; raises if events cannot be stored."""
        event_id = f"probe {uuid.uuid4().hex}"
        row = {**asdict(Event(event_id, "probe", "probe", "impression")), "received": time.time()}
        with self.engine.begin() as con:
            con.execute(sa.insert(EVENTS).values(row))
            con.execute(sa.delete(EVENTS).where(EVENTS.c.event_id == event_id))

    def items_of(self, user_id: str) -> list[str]:
        """Return the distinct items of a user's positive events, the newest first."""
        return self.items_of_each([user_id])[0]

    def items_of_each(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Return the items of `items_of` for several users, in their order, by one query."""
        if not self.exists():
            return [[] for _ in user_ids]
        newest = sa.func.max(EVENTS.c.seq)
        of_user = sa.func.row_number().over(partition_by=EVENTS.c.user_id, order_by=newest.desc()).label("place")
        found = (
            sa.select(EVENTS.c.user_id, EVENTS.c.item_id, of_user)
            .where(EVENTS.c.user_id.in_(set(user_ids)), EVENTS.c.kind.in_(POSITIVE))
            .group_by(EVENTS.c.user_id, EVENTS.c.item_id)
            .subquery()
        )
        query = sa.select(found.c.user_id, found.c.item_id).where(found.c.place <= NEWEST).order_by(found.c.place)
        items: dict[str, list[str]] = {user_id: [] for user_id in user_ids}
        with self.reading() as con:
            for user_id, item_id in con.execute(query):
                items[user_id].append(item_id)
        return [items[user_id] for user_id in user_ids]

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """Return a connection without a write lock, so that readers never wait for a writer."""
        return self.engine.connect().execution_options(longtail_reads=GLANCE_SECONDS)

    def change_counter(self) -> Callable[[], int] | None:
        """Return a function whose value changes when a process adds events; None if it would be as slow as a query."""
        if not self.is_sqlite:
            return None
        # a separate connection, kept by `value`: SQLite's counter is of commits by other connections
        own = self.engine.raw_connection()
        own.detach()
        own.cursor().execute(f"pragma busy_timeout={GLANCE_SECONDS * 1000:.0f}")
        lock = threading.Lock()

        def value() -> int:
            with lock:
                cursor = own.cursor()
                cursor.execute("pragma data_version")
                row: Any = cursor.fetchone()
                return int(row[0])

        return value


def close(path: Path) -> None:
    """Create the file of a store with access for its owner alone, whatever the umask; restrict an existing one.

    SQLite gives the log and the index beside it the mode of the file.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        path.chmod(0o600)
    except FileExistsError:
        for each in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            with suppress(OSError):  # missing, or of another owner
                each.chmod(stat.S_IMODE(each.stat().st_mode) & ~0o007)


def create(con: sa.Connection) -> None:
    """Create the tables, and in a store of an earlier version the columns that it lacks."""
    METADATA.create_all(con)
    for column in absent(con):
        kind = column.type.compile(con.dialect)
        con.execute(sa.text(f"alter table {EVENTS.name} add column {column.name} {kind}"))
    if con.execute(sa.select(STORE.c.store_id)).first() is None:
        con.execute(sa.insert(STORE).values(store_id=uuid.uuid4().hex[:8]))


def absent(con: sa.Connection) -> list[sa.Column[Any]]:
    """Return the columns that a store of an earlier version lacks; they may be null."""
    present = {column["name"] for column in sa.inspect(con).get_columns(EVENTS.name)}
    return [column for column in EVENTS.c if column.name not in present]


def read(con: sa.Connection, event_ids: Collection[str]) -> list[Event]:
    """Return the stored events of these ids."""
    columns = (EVENTS.c[name] for name in FIELDS)
    return [Event(*row) for row in con.execute(sa.select(*columns).where(EVENTS.c.event_id.in_(event_ids)))]


def durable(connection: Any, record: object) -> None:
    """Make a commit durable when it returns, and let readers read during a write."""
    connection.isolation_level = None  # otherwise sqlite3 begins transactions by itself
    keep_a_log(connection)
    connection.execute("pragma synchronous=full")


def keep_a_log(connection: Any) -> None:
    """Switch the file to a write-ahead log; if processes start together on a new file, one of them does it.

    Here SQLite ignores the timeout of the others and reports at once that the file is locked.
    """
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("pragma journal_mode=wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return


def immediate(con: sa.Connection) -> None:
    """Take the write lock at the start: a reader that becomes a writer later would fail without waiting."""
    seconds = con.get_execution_options().get("longtail_reads")
    con.exec_driver_sql(f"pragma busy_timeout={(seconds or BUSY_SECONDS) * 1000:.0f}")
    if seconds is None:
        con.exec_driver_sql("begin immediate")
