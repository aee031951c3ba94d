"""A PostgreSQL server of the tests' own, where the machine has its programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines._smoke import free_port

FOLDERS = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])


@contextmanager
def serving() -> Iterator[str]:
    """URL of an empty database; skips where there is no PostgreSQL."""
    initdb, postgres = (shutil.which(name, path=FOLDERS) for name in ("initdb", "postgres"))
    if initdb is None or postgres is None:
        pytest.skip("initdb and postgres are not on the PATH")
    user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="longtail-postgres-"))
    if user:
        shutil.chown(folder, user)
    data, port = folder / "data", free_port()
    subprocess.run(
        [initdb, "--auth=trust", "--username=longtail", "--encoding=UTF8", "--locale=C", "-D", str(data)],
        user=user, cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", str(folder)]
    server = subprocess.Popen([postgres, "-D", str(data), *options], user=user, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        url = f"postgresql+psycopg://longtail@127.0.0.1:{port}/postgres"
        wait(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGINT)  # «fast»: ends clients' sessions
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


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
