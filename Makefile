# Everything a person needs, from a clone and a Python alone:
#   make train   set up, then train, evaluate and print the table (experiment=quickstart)
#   make test    set up, then the tests
#   make benchmark   set up, then every agent on the test split; writes docs/RESULTS.md. Under attack
#                that takes hours: ARGS=--rest goes on, ARGS="--opponents none" leaves that out
# PYTHON chooses the interpreter that makes the environment: make train PYTHON=python3.12
# VENV chooses where it is made.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= 2
ARGS ?=

.PHONY: help train test test-slow test-docs test-readme test-nightly benchmark lint format types docs dist setup clean

help:
	@sed -n '1,8p' Makefile

setup: $(VENV)/.installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed; '$(PYTHON)' is another (or missing)." \
	       "Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

train: setup
	$(BIN)/powergrid-train experiment=quickstart $(ARGS)
	@echo "The commands are in $(BIN): '. $(BIN)/activate' makes powergrid-train and powergrid-evaluate known to your shell."

test: setup
	$(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder --durations=20 $(ARGS)

test-slow: setup
	$(BIN)/python -m pytest -q -m slow $(ARGS)

# every command of the README, from a clone and from a read-only installation: an hour or so
test-readme: setup
	$(BIN)/python -m pytest -q -m slow tests/test_readme_literally.py $(ARGS)

# the code and the commands of every page, and the notebooks: minutes
test-docs: setup
	$(BIN)/python -m pytest -q -m docs -n $(PYTEST_WORKERS) --dist loadscope --durations=12 $(ARGS)

# the fast simulator beside grid2op for 200,000 states, more under attack: 15 minutes or so
test-nightly: setup
	$(BIN)/python -m tests.envs.nightly $(ARGS)

benchmark: setup
	$(BIN)/python -m benchmarks.ladder $(ARGS)

# the documentation site, into site/: open site/index.html
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# wheel and sdist, into dist/
dist: $(VENV)/.installed-dev
	rm -rf dist
	$(BIN)/python -m build --quiet --no-isolation .
	$(BIN)/twine check --strict dist/*

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
