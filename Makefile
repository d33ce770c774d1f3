# Two commands set everything up: `make demo` does the main job, `make test` runs the whole suite.
# Needs python3 (3.10 or newer) with venv, git and make on a Debian or Ubuntu x86-64 machine.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TEST_STAMP := $(VENV)/.installed-test
PYTEST_FLAGS ?=

.PHONY: demo test lint unit integration bench host-tools clean help

help:
	@echo "make demo   build a CUDA program for two Jetsons, check it, pack its image"
	@echo "make test   lint, unit and integration tests"
	@echo "make bench  measure against hand-typed commands and mmdebstrap"

demo: $(STAMP)
	@$(BIN)/jetsonx demo --output build/demo

test: lint unit integration

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(TEST_STAMP)
	$(BIN)/pytest -m "not integration" -n auto $(PYTEST_FLAGS) tests

integration: $(TEST_STAMP) host-tools
	$(BIN)/pytest -m integration -n 3 --dist loadgroup --no-loadscope-reorder $(PYTEST_FLAGS) tests

bench: $(TEST_STAMP)
	@sh tests/host-tools.sh "rsync rsync"
	$(BIN)/python -m benchmarks.run

# What the integration tests need beside Python; as root or with sudo it is installed, without either the tests say
# what they lack.
host-tools:
	@sh tests/host-tools.sh

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "jetsonx needs Python 3.10 or newer; PYTHON=python3.12 make $(MAKECMDGOALS) names another one" >&2; exit 3; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "install python3-venv: apt-get install python3-venv" >&2; exit 3; }

$(STAMP): pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV)"
	@$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable .
	@touch $@

$(TEST_STAMP): pyproject.toml $(STAMP)
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build out
