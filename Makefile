# Two commands do everything:  make reproduce   make test
# They install into .venv, and need Python 3.11 or newer and a package registry.

PYTHON ?= python3
CORES ?= all
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: reproduce test lint format bench clean

## make the environment, run the demo, say where the tables and figures are
reproduce: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --quiet rules host

## make the environment and pass every test
test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2

## formatters, linters and types
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

## the ratios that must hold, measured on this machine
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

clean:
	rm -rf .venv .snakemake .mypy_cache .pytest_cache .ruff_cache
