# The two commands of the README, and what CI and developers need. Only Python >= 3.11 is expected.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.bench-installed

.PHONY: run test check bench bench-quick gate profile interop schema clean

# A strict editable install: the plugin is found, and changed sources need no new install (new files do).
$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mcpgate needs Python 3.11 or newer; this is $$($(PYTHON) -V). Try: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing mcpgate into $(VENV) (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=strict --editable '.[test]'
	@touch $@

run: $(STAMP)
	@$(BIN)/twistd -n --pidfile= mcpgate -c etc/gate.yaml

test: check
	@$(BIN)/python -m pytest -q tests --ignore=tests/interop

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/mypy

$(BENCH_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=strict --editable '.[test,bench]'
	@touch $@

# What cannot be installed is left out of the report, and said there.
bench: $(BENCH_STAMP)
	-@$(BIN)/python -m benchmarks.kits install
	@$(BIN)/python -m benchmarks --report docs/benchmarks --readme README.md

bench-quick: $(STAMP)
	@$(BIN)/python -m benchmarks --quick

# Fails when the hot path has grown. To allow what it takes now: make gate ACCEPT=--accept
gate: $(STAMP)
	@$(BIN)/python -m benchmarks.profile.gate $(ACCEPT)

profile: $(BENCH_STAMP)
	@$(BIN)/python -m benchmarks.profile.listing docs/benchmarks

interop: $(STAMP)
	@tests/interop/install.sh
	@$(BIN)/python -m pytest -q tests/interop

schema: $(STAMP)
	@$(BIN)/python -m mcpgate schema > etc/gate.schema.json

clean:
	rm -rf $(VENV) build dist src/*.egg-info
