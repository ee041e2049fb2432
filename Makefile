# `make test` sets everything up and passes the tests, on a machine with Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv

.PHONY: setup test lint
setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv $(VENV) || { apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv $(VENV); }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -e .
	touch $@

lint: setup
	$(VENV)/bin/ruff check ksmbench tests
	$(VENV)/bin/ruff format --check ksmbench tests
	$(VENV)/bin/mypy

test: lint
	$(VENV)/bin/python -m pytest
