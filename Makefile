# Two commands matter: `make demo` and `make test`. Each sets up what it needs first.
PYTHON ?= python3
# Of the whole nights over a lab `make test` runs one in so many, other ones each day; .ci/run runs all of them.
export BILLPATCH_NIGHTS ?= 20
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
KERBEROS := $(VENV)/.kerberos

.PHONY: demo ui test lint lock setup clean
.DEFAULT_GOAL := help

help:
	@echo "make demo   set everything up, start the lab, patch its estate, show the report"
	@echo "make ui     the same with the Prefect UI: start the run yourself from its form"
	@echo "make test   set everything up, run the whole test suite"
	@echo "make lint   ruff, mypy --strict, import-linter"
	@echo "make lock   resolve requirements.lock anew"

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml deployments/setup deployments/install
	@PYTHON=$(PYTHON) sh deployments/setup $(VENV)
	@touch $(STAMP)

$(KERBEROS): $(STAMP) tests/requirements-kerberos.txt deployments/setup-kerberos
	@sh deployments/setup-kerberos $(VENV)

demo: setup
	@$(BIN)/billpatch demo

ui: setup
	@$(BIN)/billpatch ui

test: setup $(KERBEROS)
	$(BIN)/python -m pytest -n 4 --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: setup
	$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --universal --generate-hashes \
		--no-emit-index-url --no-header --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) .state .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
