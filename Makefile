# Two commands do everything:  make reproduce   make test
# They install into .venv, and need Python 3.11 or newer and a package registry.

PYTHON ?= python3
CORES ?= all
BIN := .venv/bin
INSTALLED := .venv/.installed

SLURM_PROGRAMS := munged slurmctld slurmd sbatch
SLURM_INSTALL := apt-get update --quiet=2 && apt-get install --yes --quiet=2 \
	--no-install-recommends munge slurm-client slurmctld slurmd
EXECUTOR := build/slurm_executor

BROWSER_PROGRAMS := chromium chromedriver
BROWSER_INSTALL := apt-get update --quiet=2 && apt-get install --yes --quiet=2 \
	--no-install-recommends chromium chromium-driver

.PHONY: reproduce test test-slurm test-browser lint format docs bench clean

## make the environment, run the demo, say where the report, the tables and the figures are
reproduce: $(INSTALLED)
	$(BIN)/snakemake --cores $(CORES) --quiet rules host
	$(BIN)/python -m mode_connectivity report --workflow

## make the environment and pass every test
test: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses 2

## run the pipeline on a real SLURM cluster of four nodes, started on this machine and stopped again
test-slurm: $(INSTALLED) $(EXECUTOR)/.installed
	@PATH="$$PATH:/usr/sbin"; for program in $(SLURM_PROGRAMS); do \
		command -v $$program > /dev/null || missing=$$program; done; \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] && $(SLURM_INSTALL); } || \
		{ echo "$$missing is missing; run this as root, or before it: $(SLURM_INSTALL)"; exit 1; }
	$(BIN)/python -m pytest -m slurm --numprocesses 0 tests/slurm

## open the page of all results, that of the demo too where one ran, in a real browser
test-browser: $(INSTALLED)
	@for program in $(BROWSER_PROGRAMS); do \
		command -v $$program > /dev/null || missing=$$program; done; \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] && $(BROWSER_INSTALL); } || \
		{ echo "$$missing is missing; run this as root, or before it: $(BROWSER_INSTALL)"; exit 1; }
	$(BIN)/python -m pytest -m browser --numprocesses 0 tests/browser

# A folder of its own: with the executor installed, Snakemake looks for SLURM at every start.
$(EXECUTOR)/.installed: tests/slurm/requirements.txt $(INSTALLED)
	rm -rf $(EXECUTOR)
	$(BIN)/python -m pip install --quiet --no-deps --target $(EXECUTOR) --requirement $<
	@touch $@

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

## docs/settings.md, from the models that check the config
docs: $(INSTALLED)
	$(BIN)/python -m mode_connectivity.settings_reference

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
	rm -rf .venv .snakemake $(EXECUTOR) .mypy_cache .pytest_cache .ruff_cache
