"""The engines that stages run on, for tests."""

from __future__ import annotations

from tests.conftest import Workspace


def use(workspace: Workspace, name: str) -> None:
    """Set the engine, Spark with what suits small tables: few jobs, and no time spent on optimizing its code."""
    small = {
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    workspace.params("engine", {"name": name, "settings": small})
