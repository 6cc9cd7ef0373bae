# make lab and make test are all that a newcomer needs; `make help` lists the rest.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help lab test check format lint types layers coverage truth bench bench-training bench-peers test-slow test-faults test-gpu test-zoo test-tune docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "laptime needs Python 3.11 to 3.13; $(PYTHON) is another. Use make PYTHON=python3.12." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

lab: $(INSTALLED) ## Answer the questions of the lab on this machine
	@$(BIN)/laptime lab

# A file of tests is one process's: fixtures of a file are made once.
BESIDE := --numprocesses=auto --maxprocesses=4 --dist=loadfile

test: $(INSTALLED) ## Run the tests: some minutes on two cores
	$(BIN)/pytest -q $(BESIDE)

check: $(INSTALLED) format lint types layers coverage ## Everything a change must pass

format: $(INSTALLED)
	$(BIN)/ruff format --check .

lint: $(INSTALLED)
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy

layers: $(INSTALLED)
	$(BIN)/lint-imports

coverage: $(INSTALLED)
	$(BIN)/pytest -q $(BESIDE) --cov --cov-report=term:skip-covered

truth: $(INSTALLED) ## Plant forty known costs on this machine and look for them
	$(BIN)/pytest -q -s -m truth -p no:randomly tests/truth

test-slow: $(INSTALLED) ## Tests that take longer
	$(BIN)/pytest -q -m slow

test-faults: $(INSTALLED) ## Kill runs at random moments, fill disks
	$(BIN)/pytest -q -s -m faults

FRAMEWORKS := $(VENV)/.frameworks
$(FRAMEWORKS): $(INSTALLED) constraints-frameworks.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement constraints-frameworks.txt
	@touch $@

test-zoo: $(FRAMEWORKS) ## Unedited scripts as people write them, with planted costs
	$(BIN)/pytest -q -m zoo -p no:randomly --ignore tests/zoo/test_tune.py

test-tune: $(FRAMEWORKS) ## Tune scripts whose best setting is known: half an hour, on a quiet machine
	$(BIN)/pytest -q -s -m zoo -p no:randomly tests/zoo/test_tune.py

test-gpu: $(INSTALLED) ## Tests that need a CUDA device
	$(BIN)/pytest -q -s -m gpu

bench: $(INSTALLED) ## Measure own cost, loaders, growth; data goes to benchmarks/results
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/reports.py
	$(BIN)/python benchmarks/first_step.py
	$(BIN)/python benchmarks/loaders.py
	$(BIN)/python benchmarks/growth.py

bench-training: $(INSTALLED) ## Our job beside a course script, what each change of fast gains, what it learns: an hour
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/learning.py

bench-peers: $(INSTALLED) ## Our recorder beside other tools, each in an environment of its own
	$(BIN)/python benchmarks/peers.py

docs: $(INSTALLED) ## Write docs/cli.md anew from the commands
	$(BIN)/python docs/generate_cli.py

clean: ## Remove the environment and what tools left behind
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
