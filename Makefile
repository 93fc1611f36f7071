# Two commands set everything up: `make demo` and `make test`. `make` lists the targets.
PYTHON ?= python3
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCHMARKS ?=

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The tests and benchmarks find ruff, mypy and cmake of the environment before the system's.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format benchmark docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv with hepgan (editable) and its tools, versions from constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "make install: expected Python >= 3.10, got $$($(PYTHON) --version 2>&1);" \
			"name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "make install: $(PYTHON) cannot create virtual environments;" \
			"install its venv module: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install ## train, evaluate, export and run a small model on the shipped sample (a few minutes)
	$(BIN)/hepgan demo --out demo-run $(DEMO_ARGS)
	@echo "Open the report in a browser: demo-run/report/report.html"

test: install ## run the whole test suite, C++ included
	@command -v $(or $(CXX),c++) >/dev/null || \
		echo "make test: no C++ compiler ($(or $(CXX),c++)); install one: apt-get install g++" >&2
	@for browser in chromium chromium-browser google-chrome; do \
		command -v $$browser >/dev/null && break; done || \
		echo "make test: no browser to look at the report with; install one: apt-get install chromium" >&2
	sh scripts/onnxruntime-headers.sh || echo "make test: no ONNX Runtime headers, the C++ tests will say so" >&2
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses auto --dist loadfile $(PYTEST_ARGS)

lint: install ## check style (ruff) and types (mypy)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: install ## print the ratios of docs/performance.md and their targets (8 minutes; BENCHMARKS=benchmarks/reading.py)
	$(BIN)/python benchmarks/run.py $(BENCHMARKS)

docs: install ## rewrite the generated pages: docs/config.md, docs/expressions.md, the schema in docs/metrics.md
	$(BIN)/python scripts/document_config.py --write
	$(BIN)/python scripts/document_expressions.py --write
	$(BIN)/python scripts/document_results.py --write

clean: ## remove the environment, builds and caches; runs and reports stay
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
