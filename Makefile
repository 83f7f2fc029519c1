# Everything a developer runs. Needs Python 3.11+, git and make; the rest is set up here.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Where the tests have their files: in memory if there is room (they need 1 GB), because half of
# their time is waiting for the disk. `make test TESTS_IN=/var/tmp` waits. Others may go through the
# folder: tests of what may not be read give up root's rights.
TESTS_IN ?= $(shell test -w /dev/shm && df -Pk /dev/shm 2>/dev/null | awk '$$6 == "/dev/shm" && $$4 > 4000000 {print $$6}')
# Without a terminal pip is quiet; its notices are of no use in a log.
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Or each of the hundreds of processes that tests start compiles everything again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test test-deep test-codex test-cluster compatibility bench check format clean

help:  ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## create .venv with everything in it

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (set PYTHON=...)"; exit 1; }
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) ..."
	@$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -q -e '.[all]' --group dev
	@# Codex's SDK by itself: what it depends on is a Codex of 360 MB, which the tests do not use.
	@$(BIN)/python -m pip install -q --no-deps 'openai-codex>=0.163,<0.164'
	@touch $@

run: $(READY)  ## your Codex threads, or an example conversation if there are none
	@$(BIN)/threadstore tour --home example-home

test: $(READY)  ## the test suite
	folder=$$(mktemp -d "$(or $(TESTS_IN),$${TMPDIR:-/tmp})/tests-XXXXXX") && trap 'rm -rf "$$folder"' EXIT INT TERM && \
	  chmod 711 "$$folder" && \
	  TMPDIR=$$folder $(BIN)/python -m pytest -n 2 -m 'not codex and not cluster'

test-deep: $(READY)  ## for long: writers, agents and servers killed hundreds of times
	DEEP=1 $(BIN)/python -m pytest --timeout 3600 tests/stores/postgres/test_faults.py \
	  tests/stores/postgres/test_hammering.py tests/engine/test_kills.py tests/engine/test_restart.py tests/stores/local/test_kill.py \
	  tests/test_copying_homes.py

test-codex: $(READY)  ## the tests against real Codex binaries (installed from npm into .cache)
	$(BIN)/python -m pytest -m codex tests/codex

test-cluster: $(READY)  ## PostgreSQL with two standbys, a lost primary, pgbouncer if it is installed
	$(BIN)/python -m pytest -n 2 -m cluster tests/cluster tests/conformance

compatibility: $(READY)  ## run these, for RELEASES="0.133.0 ..." if given, and write docs/compatibility.md
	RECORD=1 $(BIN)/python -m pytest -m codex tests/codex
	$(BIN)/python -m tools.compatibility_page

bench: $(READY)  ## the benchmarks beside Codex, peers and the machine, and docs/benchmarks.md (an hour the first time)
	$(BIN)/python -m benchmarks --write docs/benchmarks.md

check: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what was set up
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis example-home
