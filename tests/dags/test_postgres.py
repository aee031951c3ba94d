"""Airflow on PostgreSQL, and stopped."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from tests.clones import Clone
from tests.dags.standalone import standalone
from tests.postgres import serving

pytestmark = pytest.mark.slow


def test_airflow_keeps_its_tables_in_postgresql_where_told_to_and_leaves_no_process_behind(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "longtail")
    with serving() as url, standalone(clone, {"LONGTAIL_AIRFLOW_DB": url}) as airflow:
        run_id = airflow.trigger("rollback")
        airflow.finish("rollback", run_id, "failed")
        assert "no version serves yet" in airflow.log("rollback", run_id, "choose")
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            found = connection.execute(sa.text("select run_id from dag_run where dag_id = 'rollback'")).scalars().all()
        engine.dispose()
        processes = airflow.processes()
        assert len(processes) > 3
        assert "Airflow is stopped" in clone.longtail("airflow", "down")
        assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert "does not run" in clone.longtail("airflow", "status")
    assert found == [run_id]
    assert not list((clone.root / ".longtail" / "airflow").glob("*.db"))
