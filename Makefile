# Everything here works with python3 (3.11 or newer), make and git alone.
# ARGS are passed on: make demo ARGS="--seconds 10 --json", make test ARGS="-m unit -x"

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench lock clean

help:  ## Show the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1 /' \
	    | while read -r name text; do printf '  make %-9s %s\n' "$$name" "$$text"; done

install:  ## Build .venv from requirements.lock, if it is not up to date
	@scripts/install

demo: install  ## Watch the router at work on simulated providers
	@.venv/bin/apikeyrouter demo $(ARGS)

test: install  ## Run the tests
	@.venv/bin/pytest $(ARGS)

check:  ## Check layout, lint, types and lock files
	@scripts/check

format: install  ## Lay out the code and mend what the linter can
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

bench: install  ## Run the benchmarks
	@.venv/bin/pytest -s packages/core/tests/benchmarks $(ARGS)

lock:  ## Write the lock files anew after a change of dependencies
	@python3 scripts/lock $(ARGS)

clean:  ## Remove the environments and everything generated
	@rm -rf .venv .tools dist htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	@rm -rf packages/*/dist packages/*/build packages/*/.venv
	@find packages tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
