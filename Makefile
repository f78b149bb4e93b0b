# Two commands on a fresh machine: `make demo` and `make test`. Both do all set-up themselves.
PYTHON := $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
export PYTHONUNBUFFERED := 1

.PHONY: help setup demo up down image compose-test test test-all prove golden mutate bench lint lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

setup: $(READY) ## install everything into .venv from the hashed lock

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed; found " + sys.version.split()[0])'
	@echo "Installing the locked packages into .venv (about 200; a few minutes on a first run)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: setup ## the main job end to end: nightly data to a published edition
	@$(BIN)/hailong demo

up: setup ## start the embedded PostgreSQL and a local Airflow
	@$(BIN)/hailong up

down: setup ## stop both
	@$(BIN)/hailong down

# Either Compose, whichever is there.
COMPOSE = $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

image: ## the image of one server, with commit and date inside; needs Docker and .env
	@COMMIT=$$(git describe --always --dirty --exclude '*' --abbrev=12) BUILD_DATE=$$(git log -1 --format=%cI) $(COMPOSE) build

compose-test: setup ## the demo's month through the containers that are up, over HTTP; needs the profile demo and fresh volumes
	@$(BIN)/python -m tests.compose

test: setup ## every test
	@$(BIN)/python -m pytest -n 2 --dist loadfile

# What a server's version can change: schema, load, models, publication.
ON_15 := $(patsubst %,tests/integration/test_%.py,migrations roles upgrade load tombstones quarantine truth publish backup)

test-all: setup ## every test once: on the embedded server, and those that a server's version can change on Debian's PostgreSQL 15
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(addprefix --ignore=,$(ON_15))
	@tests/with-postgres-15 $(BIN)/python -m pytest -n 2 --dist loadfile $(ON_15)

prove: setup ## warehouse and independent scorer agree on 200,000 dossiers and on random little worlds; about 15 minutes
	@$(BIN)/python -m tests.prove

golden: setup ## score the frozen periods of tests/fixtures/golden anew, on purpose; fails, so that nobody takes it for a test
	@HAILONG_RENEW_GOLDEN=yes $(BIN)/python -m pytest -n0 -k golden_period_moves tests/integration/test_upgrade.py

mutate: setup ## single faults in the rule set, each of which a named test must notice; its own time, no part of test
	@$(BIN)/python -m tests.mutate

bench: setup ## speed and memory side by side, written to docs/benchmarks.md; takes hours and 60 GB of disk
	@$(BIN)/python -m tests.bench; read=$$?; $(BIN)/python -m tests.bench.warehouse; exit $$((read | $$?))

lint: setup ## ruff, mypy, sqlfluff, the page of the contracts; they check and never repair
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/sqlfluff lint --processes 2 dbt_project/models
	@$(BIN)/hailong contracts docs --check

lock: setup ## resolve requirements.lock anew, on purpose
	@$(BIN)/python -m pip install --quiet pip-tools
	@$(BIN)/pip-compile --quiet --upgrade --extra dev --generate-hashes --allow-unsafe --strip-extras --no-header \
		--no-annotate --no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file requirements.lock pyproject.toml

clean: ## remove the environment and the local data
	@if [ -x $(BIN)/hailong ]; then $(BIN)/hailong down; fi
	rm -rf .venv .hailong
