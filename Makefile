# Every target runs `setup` first if needed. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# More workers than cores, because tests mostly wait.
WORKERS ?= 4
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-9s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.complete: pyproject.toml client/pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ragledger needs Python 3.11 or newer: run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "Python's venv module is missing (on Debian and Ubuntu: apt-get install python3-venv)"; exit 1; }
	@echo "Setting up $(VENV): about a minute, once" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e ./client
	@# pip compiles the libraries, but not the source of an editable install.
	@$(BIN)/python -m compileall -q consumer client/ragledger_client
	@touch $@

setup: $(VENV)/.complete ## Create .venv with the pinned and hashed requirements

demo: setup ## Run the main job on an embedded Kafka and PostgreSQL (ARGS="--events 20000 --exit --json")
	@$(BIN)/ragledger demo $(ARGS)

test: setup ## Run the tests, on an embedded Kafka and PostgreSQL (RAGLEDGER_TEST_STACK=docker: on containers)
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: setup ## Run the tests that are marked as slow
	$(PYTEST) -m slow $(ARGS)

test-all: test test-slow ## Run every test

distributed: setup ## Run the tests of a Citus cluster (RAGLEDGER_TEST_CITUS_DSN=postgresql://… names its coordinator)
	$(BIN)/python -m pytest tests/distributed tests/contract -k "distributed" $(ARGS)

check: setup ## Check format, lint, types and layers, and run the quick tests that need no server
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 client/ragledger_client
	$(BIN)/lint-imports
	$(PYTEST) tests/unit tests/meta -q -m 'not slow and not thorough'

format: setup ## Format the code, and apply the automatic fixes of the linter
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Measure the speed of raw COPY and of ragledger
	$(BIN)/python -m bench $(ARGS)

faults: setup ## Run ragledger through kills, freezes and network failures, and check every record
	$(BIN)/python -m pytest tests/faults $(ARGS)

fuzz: setup ## Decode a million hostile records (ARGS="--fuzz-records 100000 --fuzz-seed 2")
	$(BIN)/python -m pytest tests/unit/fuzz -s --fuzz-records 1000000 $(ARGS)

lock: setup ## Update the pinned requirements from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --allow-unsafe pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --allow-unsafe pyproject.toml --extra embedded --extra parquet --group dev -o requirements/dev.txt

clean: ## Remove .venv, builds and caches
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache

.PHONY: help setup demo test test-slow test-all distributed check format bench faults fuzz lock clean
