# memedit: everything that is done to this repository.  'make' alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Environments come without bytecode (scripts/environment.sh).  Where the machine's settings forbid
# to write any, every start of vLLM compiles all of it again: 80 seconds of a core, not 15.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
# pytest's own options: make test PYTEST="-k bytes -x"
PYTEST ?=
# Processes that run tests; 0: this one alone, which is what a debugger wants: make test JOBS=0.
# One more than the two cores that it is meant for: some tests mostly wait for servers.
JOBS ?= 3
# memedit demo's own options: make demo DEMO=--json
DEMO ?=

.PHONY: help
help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: env
env: ## memedit's own environment, .venv (once; about two minutes)
	@scripts/make_env.sh

.PHONY: vllm-env
vllm-env: ## vLLM's environment, .venv-vllm (once; about three minutes, 3.4 GB)
	@scripts/make_vllm_env.sh

# One thread each: two processes whose matrix products wait for each other take five times as long.
run_pytest = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder $(PYTEST)

# Nothing that claims to work with vLLM is tested only against a fake, so 'make test' brings a real
# one; MEMEDIT_SKIP_VLLM=1 leaves out what needs it, and says so in pytest's summary.
.PHONY: test
test: env ## All tests, end to end against a real vLLM too (MEMEDIT_SKIP_VLLM=1: without)
	@if [[ "$${MEMEDIT_SKIP_VLLM:-0}" == 1 ]]; then \
	    MEMEDIT_REQUIRE_VLLM=0 $(run_pytest); \
	else \
	    scripts/make_vllm_env.sh; \
	    MEMEDIT_REQUIRE_VLLM=1 $(run_pytest); \
	fi

.PHONY: demo
demo: env ## One edit, end to end: the same questions before it, with it, and after its retraction
	@$(BIN)/memedit demo $(DEMO)

.PHONY: demo-vllm
demo-vllm: env vllm-env ## The same through a real vLLM
	@$(BIN)/memedit demo --vllm-python .venv-vllm/bin/python $(DEMO)

.PHONY: lint
lint: env ## Style: ruff's rules and its formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: env ## Types: mypy, strict
	@$(BIN)/mypy

.PHONY: clean
clean: ## Remove what builds and tools leave behind; environments and memories stay
	@rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
