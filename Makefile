# What one does here, each by one word. PYTHON=/path/to/python uses an environment of your own instead of .venv.
SHELL := /bin/bash
RUN ?= $(if $(VIDEOS),videos,demo)

ifdef PYTHON
python := $(PYTHON)
installed :=
else
python := .venv/bin/python
installed := .venv/.installed
endif

.PHONY: setup demo test check format up down status clean
.DEFAULT_GOAL := help

.PHONY: help
help:
	@echo "make demo                    videos to judged stories; VIDEOS=folder for your own, RUN=name, SET='key=value ...'"
	@echo "make up / down / status      Prefect's server and worker and MLflow on this machine"
	@echo "make test / check / format   tests / everything CI checks / let ruff format"
	@echo "make setup / clean           .venv / remove .venv and caches (never the workspace)"

setup: $(installed)

.venv/.installed: pyproject.toml constraints.txt
	@found=$$(for name in python3.11 python3.12 python3.13 python3; do \
	  command -v $$name >/dev/null && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$name && break; \
	done); [ -n "$$found" ] || { echo "Python 3.11 or newer is not on the PATH" >&2; exit 1; }; \
	echo "installing into .venv with $$found (minutes, once)"; \
	[ -x .venv/bin/python ] || $$found -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(installed)
	@$(python) -m flows.end_to_end --run "$(RUN)" $(if $(VIDEOS),--videos "$(VIDEOS)") $(if $(SET),--set $(SET))

test: $(installed)
	@$(python) -m pytest -n 2 --dist loadgroup

check: $(installed)
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy
	$(dir $(python))lint-imports --no-logo
	@$(MAKE) --no-print-directory test

format: $(installed)
	@$(python) -m ruff check --fix-only --quiet . && $(python) -m ruff format .

up down status: $(installed)
	@$(python) infra/services.py $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
