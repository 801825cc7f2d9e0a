# The whole vocabulary: `make help`. Needs only make and Python 3.11 or later.
.DEFAULT_GOAL := help
VENV := .venv
RUN := $(VENV)/bin/python
export WINDLASS_VENV := $(VENV)
# Tests start Python hundreds of times; without byte-code each start compiles all it imports.
unexport PYTHONDONTWRITEBYTECODE
# Every member, for tools that want a list.
SOURCES := core agent cli server testkit meta plugins integrations tests examples benchmarks scripts
# Many tests wait for processes, so one more worker than there are processors.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Slow tests (wheels, clean environments) run where everything is required, as in .ci/run.
PICK := $(if $(WINDLASS_TEST_REQUIRE),,-m "not slow")

.PHONY: help demo setup test lint types docs bench bench-artifacts clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Train a real model on its way from queue to artifact (two minutes, then seconds)
	@sh scripts/setup.sh demo
	@$(RUN) scripts/demo.py

setup: ## Make .venv with all members, tests and linters
	@sh scripts/setup.sh dev

test: setup ## Run the tests, in parallel and in random order; those that need a missing service say so
	@$(RUN) -m pytest -q -n $(JOBS) $(PICK) $(ARGS)

lint: setup ## ruff, mypy (strict) over all members, and the rules of the house
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(MAKE) --no-print-directory types
	@$(RUN) -m pytest -q -n 0 -p no:randomly tests/architecture

types: setup ## mypy --strict over all members
	@$(RUN) scripts/check_types.py

docs: setup ## Write the generated reference pages of docs/
	@$(RUN) docs/generate.py

bench: setup ## Run the benchmarks; they print ratios
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(RUN) $$file || exit 1; done

bench-artifacts: setup ## Measure artifacts against a bare loop, and against other tools that are installed
	@$(RUN) benchmarks/artifacts/run.py --peers $(ARGS)

clean: ## Remove .venv, caches and the demo's state
	@rm -rf $(VENV) .windlass .pytest_cache .mypy_cache .ruff_cache dist
