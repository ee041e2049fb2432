# `make demo` and `make test` set everything up first, on a machine with Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv

DEMO_TRACES := traces/debian-idle-x4 traces/debian-busy-x4
DEMO_REPORT := reports/demo

.PHONY: demo review prefork-report setup test lint

# Four real guests, idle and busy, nothing to configure: what default KSM saves, what faster scanning adds, what is possible at all.
demo: setup
	$(VENV)/bin/ksmbench compare $(DEMO_TRACES) --design none --design ksm-6.18 --design ksm-6.18,pages_to_scan=1000 \
		--design ksm-6.18,pages_to_scan=4000 --design oracle -o $(DEMO_REPORT) --force

# The questions of the review of 2009, answered by replays of workloads/review_2009 and of recorded traces; some minutes.
review: setup
	$(VENV)/bin/python -m workloads.review_2009 report --force

# Smart scan and the advisor on the shipped traces of pre-forking services, beside what was published; some minutes.
prefork-report: setup
	$(VENV)/bin/python -m workloads.prefork_report --force

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml requirements-dev.txt
	$(PYTHON) -m venv $(VENV) || { apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv $(VENV); }
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -e .
	touch $@

lint: setup
	$(VENV)/bin/ruff check ksmbench tests workloads setup.py
	$(VENV)/bin/ruff format --check ksmbench tests workloads setup.py
	$(VENV)/bin/mypy

test: lint
	$(VENV)/bin/python -m pytest
