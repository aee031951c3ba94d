# Two commands matter: `make run` (the whole pipeline on a demo catalogue) and `make test`. Each sets the machine up first.

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed

export PATH := $(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export BENTOML_DO_NOT_TRACK := True
export GX_ANALYTICS_ENABLED := false
export HF_HUB_DISABLE_TELEMETRY := 1
unexport PYTHONDONTWRITEBYTECODE  # where it is set, each process of the tests compiles all files anew

.PHONY: help setup run test test-faults lint unit coverage docs clean airflow
.PHONY: bench-mf bench-embed bench-ingest bench-spark bench-serving bench-airflow bench-evaluate bench-gate bench-gate-attempts bench-gate-level bench-verdicts bench-parts
.DEFAULT_GOAL := help

help:  ## What there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

setup: $(STAMP)  ## Install everything into .venv (also done by every other target when missing or stale)

# The stamp comes last: an interrupted installation is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	  f"Python {v.major}.{v.minor} is not supported: Longtail needs 3.11 to 3.13; name one with `make PYTHON=python3.12 ...`")'
	@echo "Installing about 270 packages into $(VENV); this takes about a minute, once."
	@$(PYTHON) -m venv $(VENV) || { echo "Could not make $(VENV): on Debian and Ubuntu install python3-venv."; exit 1; }
	@"$(BIN)/python" .ci/install.py
	@touch $(STAMP)

run: $(STAMP)  ## Train, judge, package and promote or refuse: the whole pipeline on what params.yaml names
	@longtail run

# One process more than cores, five at most: many tests wait for servers.
PROCESSES = $$(python -c 'import os; print(min(os.cpu_count() or 1, 4) + 1)')

test: lint  ## Everything: ruff, imports, mypy and all tests, shared out over the cores
	@OMP_NUM_THREADS=1 python -m pytest --dist loadfile --no-loadscope-reorder --durations 10 \
	  --numprocesses $(PROCESSES)

test-faults: $(STAMP)  ## What dies in the middle of a run, feedback stores that fail, two Celery workers: 20 minutes
	@LONGTAIL_FAULTS=1 python -m pytest tests/dags/test_faults.py tests/dags/test_celery.py tests/bento/feedback/test_store_faults.py

unit: $(STAMP)  ## The fast tests alone, a minute on two cores
	@OMP_NUM_THREADS=1 python -m pytest -m 'not slow' --dist loadfile --numprocesses auto

coverage: $(STAMP)  ## Lines and branches that all tests run, in build/coverage; MARKS='not slow' for the fast ones
	@OMP_NUM_THREADS=1 python -m pytest -m '$(MARKS)' --dist loadfile --no-loadscope-reorder --numprocesses $(PROCESSES) \
	  --cov --cov-report term:skip-covered --cov-report html

lint: $(STAMP)  ## ruff, the direction of imports and mypy --strict
	@ruff check .
	@ruff format --check .
	@lint-imports
	@mypy

docs: $(STAMP)  ## The documentation as pages, in build/docs
	@NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --strict
	@echo "The documentation is $(CURDIR)/build/docs/index.html; its search needs a server: mkdocs serve"

bench-mf: $(STAMP)  ## Solver and quality of the factorization beside implicit, EASE and item-kNN
	@python -m benchmarks.mf

bench-embed: $(STAMP)  ## Speed, cache and quality of the text embedding beside sentence-transformers
	@python -m benchmarks.embed

bench-serving: $(STAMP)  ## The Bento under load beside bare FastAPI and Starlette, up to a million items and users
	@python -m benchmarks.serving

bench-ingest: $(STAMP)  ## Ingest and split of a million and of 20 million interactions beside polars and pandas
	@python -m benchmarks.ingest

bench-spark: $(STAMP)  ## Ingest, validate and split on Spark beside DuckDB, and from which size Spark pays
	@python -m benchmarks.spark

airflow: $(STAMP)  ## Airflow on this machine: trigger, watch, approve and roll back in the browser
	@longtail airflow up

bench-airflow: $(STAMP)  ## What Airflow and DVC add to the bare stages, task by task
	@python -m benchmarks.airflow

bench-evaluate: $(STAMP)  ## Lists for all users over the full catalogue, beside the bare matrix product
	@python -m benchmarks.evaluate

bench-gate: $(STAMP)  ## The gate's decisions over 100,000 users
	@python -m benchmarks.gate

bench-gate-level: $(STAMP)  ## How often the gate is wrong at a bound, and decides beyond it, by shape of the data
	@python -m benchmarks.gate_level

bench-gate-attempts: $(STAMP)  ## Wrong promotions by trying often, and right ones in a year of daily training
	@python -m benchmarks.gate_attempts

bench-verdicts: $(STAMP)  ## What the gate says of a normal, a popularity-only and a crippled candidate
	@python -m benchmarks.verdicts

bench-parts: $(STAMP)  ## Search in cells, text encoder and JSON of the service beside faiss, ONNX Runtime and orjson
	@python -m benchmarks.parts

clean:  ## Remove what stages wrote and caches of tools (not data/raw, not DVC's cache, not releases)
	@find data -mindepth 1 -maxdepth 1 ! -name raw ! -name .gitignore -exec rm -rf {} +
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
