"""A PostgreSQL server of the tests' own, where the machine has its programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import sqlalchemy as sa

from pipelines.bentos.smoke import free_port
from tests import system


@contextmanager
def serving() -> Iterator[str]:
    """URL of an empty database; skips where there is no PostgreSQL."""
    with cluster() as found:
        yield found.url


@contextmanager
def cluster(data: Path | None = None) -> Iterator[Cluster]:
    """A server that serves an empty database from a folder; skips where there is no PostgreSQL."""
    found = Cluster.create(data)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(found.folder, ignore_errors=True)


@dataclass
class Cluster:
    """A server that can be ended in every way, and started again."""

    postgres: str
    user: str | None  # PostgreSQL refuses to run as root
    folder: Path
    data: Path
    port: int
    server: subprocess.Popen[bytes] | None = None

    @classmethod
    def create(cls, data: Path | None) -> Cluster:
        initdb, postgres = system.program("initdb"), system.program("postgres")
        user = "nobody" if os.geteuid() == 0 else None
        folder = Path(tempfile.mkdtemp(prefix="longtail-postgres-"))
        data = data or folder / "data"
        if user:
            for each in {folder, data.parent}:
                shutil.chown(each, user)
        options = ["--auth=trust", "--username=longtail", "--encoding=UTF8", "--locale=C", "--wal-segsize=1"]
        subprocess.run([initdb, *options, "-D", str(data)], user=user, cwd=folder, check=True, capture_output=True)
        return cls(postgres, user, folder, data, free_port())

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://longtail@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command = [self.postgres, "-D", str(self.data), *options]
        self.server = subprocess.Popen(command, user=self.user, cwd=self.folder, stderr=subprocess.DEVNULL)
        wait(self.url, self.server)

    def processes(self) -> list[psutil.Process]:
        if self.server is None:
            return []
        main = psutil.Process(self.server.pid)
        return [main, *main.children(recursive=True)]

    def kill(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self.server is not None:
            self.server.wait()
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        if self.server is not None:
            self.server.send_signal(signal.SIGINT)  # «fast»: ends clients' sessions
            self.server.wait(30)


def wait(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = sa.create_engine(url)
    for _ in range(300):
        assert server.poll() is None, "PostgreSQL ended before it was ready"
        try:
            engine.connect().close()
        except sa.exc.OperationalError:
            signal.sigtimedwait([], 0.1)
        else:
            engine.dispose()
            return
    raise AssertionError("PostgreSQL was not ready after 30 s")
