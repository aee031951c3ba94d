"""Ingest from parquet, validate and split on DuckDB and on Spark: seconds of each, and the number of differing rows.

`make bench-spark`, or `python -m benchmarks.spark [--rows N ...] [--master local[2]]`. Each stage is a separate
process; its start (imports, and a session of Spark) is included, and also shown alone. The size from which Spark is
faster is extrapolated from these figures. Saved as `benchmarks/results/spark.json`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
from ruamel.yaml import YAML

from benchmarks import _results as results
from benchmarks.ingest import STAGE, measured, prepare

SIZES = (100_000, 1_000_000, 10_000_000)
STAGES = ("ingest", "validate", "split")
ENGINES = ("duckdb", "spark")
MORE_CORES = (1, 4, 16, 64)
START = """
from pathlib import Path
from pipelines.runtime import spark as engine
from pipelines.artifacts.outputs import StageRun
from pipelines.settings.document import load
from pipelines.settings.engine import Engine
with engine.connect(StageRun("split", Path(".")), "4GB", load(Engine)) as spark:
    spark.rows("select 1")
"""
Row = dict[str, Any]


class Comparison:
    """Both engines at each size; `seconds` by (engine, rows) is the input of the second table."""

    def __init__(self, sizes: Sequence[int], master: str) -> None:
        self.sizes, self.master = sizes, master
        self.seconds: dict[tuple[str, int], float] = {}

    def stages(self) -> Iterator[Row]:
        """Yield a row per size and stage: seconds of both engines, and the number of differing rows of their files."""
        for n in self.sizes:
            with TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
                folder = Path(name)
                prepare_parquet(folder, n)
                if n == self.sizes[0]:
                    self.use(folder, "spark")
                    seconds = measured(folder, START)["seconds"]
                    yield {"rows": 0, "stage": "a session", "duckdb": None, "spark": seconds, "differing_rows": None}
                taken = {}
                for engine in ENGINES:
                    self.use(folder, engine)
                    for stage in STAGES:
                        taken[engine, stage] = measured(folder, STAGE.format(stage))["seconds"]
                    self.seconds[engine, n] = sum(taken[engine, stage] for stage in STAGES)
                    (folder / "data").rename(folder / engine)
                for stage in STAGES:
                    found = {engine: taken[engine, stage] for engine in ENGINES}
                    yield {"rows": n, "stage": stage, **found, "differing_rows": differing(folder, stage)}

    def use(self, folder: Path, engine: str) -> None:
        """Set the engine, and remove the other one's partitions."""
        yaml = YAML()
        params = yaml.load((folder / "params.yaml").read_text("utf-8"))
        params["engine"] |= {"name": engine, "master": self.master}
        yaml.dump(params, folder / "params.yaml")
        if (folder / ".longtail").is_dir():
            (folder / ".longtail").rename(folder / f".longtail-before-{engine}")

    def crossing(self) -> Iterator[Row]:
        """Yield the number of rows from which Spark with more cores is faster than DuckDB here; None: never.

        Extrapolated by a straight line through the two largest sizes of each engine, with Spark's slope divided by
        cores.
        """
        if len(self.sizes) < 2:
            return
        first, second = sorted(self.sizes)[-2:]
        lines = {}
        for engine in ENGINES:
            slope = (self.seconds[engine, second] - self.seconds[engine, first]) / (second - first)
            lines[engine] = (self.seconds[engine, second] - slope * second, slope)
        (fixed, slope), (fixed_spark, slope_spark) = lines["duckdb"], lines["spark"]
        for times in MORE_CORES:
            gain = slope - slope_spark / times
            n = (fixed_spark - fixed) / gain if gain > 0 else None
            yield {"cores_of_spark": f"{times} x those of DuckDB", "pays_from_rows": n and round(n)}


def prepare_parquet(folder: Path, n: int) -> None:
    """Prepare a folder with params.yaml and raw/interactions.parquet of `n` rows, some without a value."""
    prepare(folder, n)
    source, target = folder / "raw" / "interactions.csv", folder / "raw" / "interactions.parquet"
    types = {"user_id": pa.string(), "item_id": pa.string(), "value": pa.float64(), "timestamp": pa.int64()}
    how = csv.ConvertOptions(column_types=types, null_values=["x"])
    pq.write_table(csv.read_csv(source, convert_options=how), target)
    source.unlink()
    yaml = YAML()
    params = yaml.load((folder / "params.yaml").read_text("utf-8"))
    params["ingest"]["table"]["interactions"] = ["interactions.parquet"]
    yaml.dump(params, folder / "params.yaml")


def differing(folder: Path, stage: str) -> int:
    """Return the number of rows in only one engine's files; for validate, 1 if the reports differ."""
    one, other = (folder / engine / stage for engine in ENGINES)
    if stage == "validate":
        return int((one / "report.json").read_bytes() != (other / "report.json").read_bytes())
    query = "select count(*) from (from read_parquet('{}') except all from read_parquet('{}'))"
    pairs = [(one / path.name, other / path.name) for path in one.glob("*.parquet")]
    with duckdb.connect() as con:
        return sum(con.sql(query.format(*files)).fetchall()[0][0] for pair in pairs for files in (pair, reversed(pair)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spark", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(SIZES), help="interactions (default: %(default)s)")
    parser.add_argument("--master", default="local[2]", help="Spark master (default: %(default)s)")
    arguments = parser.parse_args()
    compared = Comparison(arguments.rows, arguments.master)
    tables = {
        "stages": ("Seconds of DuckDB and of Spark, start included", compared.stages),
        "crossing": ("Size from which Spark is faster, extrapolated", compared.crossing),
    }
    results.run("spark", tables, None)


if __name__ == "__main__":
    main()
