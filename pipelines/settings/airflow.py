"""Section `airflow`: schedule, machines and limits of runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.settings.document import Section, Strict, Text


class Resources(Strict):
    """Queue, pool and limits of a stage in Airflow; missing keys have Airflow's default."""

    queue: Text | None = None
    pool: Text | None = None
    executor_config: dict[str, Any] | None = None
    timeout: Annotated[float, Field(gt=0)] | None = None


class Deployment(Strict):
    host: Text
    port: Annotated[int, Field(ge=1, le=65535)]
    ready_timeout: Annotated[int, Field(ge=1, le=3600)]


class Airflow(Section):
    section = "airflow"
    schedule: Text | None
    watch: Text | None
    parallel_runs: Annotated[int, Field(ge=1, le=1000)]
    parallel_stages: Annotated[int, Field(ge=1, le=1000)] | None
    retries: Annotated[int, Field(ge=0, le=100)]
    retry_delay: Annotated[float, Field(ge=0)]
    timeout: Annotated[float, Field(gt=0)]
    free_gigabytes: Annotated[float, Field(ge=0)]
    workers: Literal["local", "remote"]
    deployment: Deployment
    stages: dict[
        Literal["ingest", "validate", "split", "embed", "train", "champion", "evaluate", "gate", "package"], Resources
    ]
