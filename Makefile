# Everything a person does by hand. Each target sets up what it needs; what is set up already costs nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := $(CURDIR)/.venv
UV_HOME := $(CURDIR)/.cache/uv
READY := $(VENV)/.ready
SERVER_READY := $(CURDIR)/.venv-serve/pins.txt

export PATH := $(VENV)/bin:$(UV_HOME)/bin:$(PATH)
export DAGSTER_HOME := $(CURDIR)/.dagster
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export DAGSTER_DISABLE_TELEMETRY := 1
export NO_ALBUMENTATIONS_UPDATE := 1
# Without compiled modules each of the graph's processes would compile torch again: 8 s of its start.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo starter test lint format bench clean

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(READY) $(SERVER_READY) ## the project's environment (.venv) and the embedded server's (.venv-serve)

demo: setup ## pages in, a served answer out; PAGES=folder adds your own
	@scriptorium demo $(if $(PAGES),--pages "$(PAGES)")

starter: setup ## the starter weights once more: fonts, pages, training (hours on a CPU), card
	@scriptorium fonts install
	@scriptorium profile small
	@dvc repro evaluate@trident
	@python -m ml.training.starter models/trident --scores metrics/evaluate_trident.json

test: setup ## all tests, a real Triton among them
	@pytest

lint: $(READY) ## ruff and pyright
	@ruff check .
	@ruff format --check .
	@pyright

format: $(READY) ## let ruff put the files in order
	@ruff check --fix .
	@ruff format .

bench: setup ## the scripts of bench/ that need no arguments, each prints JSON and a table
	@for name in synth store loader contracts decode int8 train_step; do echo "== $$name"; python bench/$$name.py || exit 1; done

clean: ## remove what the graph made (data, models, metrics, runs); environments, DVC's cache and published versions stay
	rm -rf data models graphs metrics demo dvc.lock .dvc/tmp .dagster/history .dagster/schedules .dagster/storage

# torch's wheels are large: a slow line needs more than uv's usual patience.
export UV_HTTP_TIMEOUT := 600

$(READY): requirements/dev.txt pyproject.toml
	@command -v uv >/dev/null || bash requirements/get-uv "$(UV_HOME)"
	@[ -x "$(VENV)/bin/python" ] || uv venv --quiet --python '>=3.11,<3.13' "$(VENV)"
	@uv pip install --python "$(VENV)/bin/python" --requirements requirements/dev.txt
	@uv pip install --quiet --python "$(VENV)/bin/python" --no-deps --editable .
	@touch "$@"

$(SERVER_READY): requirements/serving.txt $(READY)
	@python -m ml.serving.setup
	@touch "$@"
