"""Connections to PostgreSQL with a deadline: if an answer is late, the connection is closed."""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus

CONNECT_SECONDS = 2  # the driver's minimum
# Deadlines of the server as well, so that a lost client leaves neither locks nor sessions behind.
SETTINGS = """
    set statement_timeout = {milliseconds};
    set idle_in_transaction_session_timeout = {milliseconds};
    set tcp_keepalives_idle = 30;
    set tcp_keepalives_interval = 10;
    set tcp_keepalives_count = 3;
"""


class Connection(psycopg.Connection[Any]):
    """A connection whose server has `seconds` for each answer, whatever the state of server and network."""

    seconds = 5.0

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.seconds if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()  # a late answer must not be mistaken for the next one
            raise


def limit(engine: sa.Engine, seconds: float) -> None:
    """Set the deadline of every connection of an engine; drivers other than psycopg have only the server's."""

    def connect(dialect: sa.Dialect, record: object, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        limited: type[Connection] = type("Limited", (Connection,), {"seconds": seconds})
        return limited.connect(*arguments, **{"connect_timeout": CONNECT_SECONDS, **options})

    def settle(connection: Any, record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute(SETTINGS.format(milliseconds=int(seconds * 1000)))
        connection.commit()

    if engine.dialect.driver == "psycopg":
        sa.event.listen(engine, "do_connect", connect)
    sa.event.listen(engine, "connect", settle)
