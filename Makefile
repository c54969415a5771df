# The commands of this repository. `make help` lists them.
# Another interpreter: make run PYTHON=python3.12. Another campaign: make run CAMPAIGN=my.yaml.

PYTHON ?=
CAMPAIGN ?= configs/campaigns/mbe_growth.yaml
VENV := .venv
BIN := $(VENV)/bin

# What is installed is known by a file that carries the checksum of everything that decides it, so an
# install happens once, a fresh checkout of the same pins asks the network for nothing, and a change
# of the pins installs again.
PINS := $(shell cat pyproject.toml constraints.txt constraints-oracles.txt | cksum | cut -d ' ' -f 1)
READY_TO_RUN := $(VENV)/.installed-all-$(PINS)
READY_TO_TEST := $(VENV)/.installed-dev-$(PINS)
READY_TO_COMPARE := $(VENV)/.installed-oracles-$(PINS)

SPEED := $(filter-out speed/measure.py,$(wildcard speed/*.py))
VALIDATION := $(foreach twin,mbe rheed stem stem_analyst stm stm_analyst xrd,docs/validation/$(twin).py)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
    -c constraints.txt
# pip would compile 15000 files one after the other; this takes every core, and leaves out the tests
# that packages carry along. A file in another Python's syntax is no failure: nobody imports it.
COMPILE := $(BIN)/python -W ignore -m compileall -qq -j 0 -x '[\\/]tests[\\/]' $(VENV)/lib || true

# Whoever collects these files alone starts after seconds. One at a time: each starts processes of its own,
# and some a Ray cluster, on what may be two cores.
SYSTEM = $(shell grep -rl 'mark\.system' tests --include='test_*.py' | sort)

.DEFAULT_GOAL := help
.PHONY: help run test lint physics validation soak speed clean

help: ## list the commands
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1 : /'

run: $(READY_TO_RUN) ## run the campaign of the demonstration
	@$(BIN)/twinloop run $(CAMPAIGN)

test: $(READY_TO_TEST) ## unit, documentation and system tests (physics and soak have their own)
	$(BIN)/pytest --doctest-modules tests src/twinloop -m "not system and not physics and not soak" \
	    -n 2 --dist loadfile --durations=20
	$(BIN)/pytest $(SYSTEM) -m "system and not physics and not soak" --durations=20

lint: $(READY_TO_TEST) ## style, types, arrows between the rooms, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p twinloop
	$(BIN)/lint-imports
	$(BIN)/codespell

physics: $(READY_TO_COMPARE) ## the slow comparisons with theory, reference figures and other codes
	$(BIN)/pytest tests -m physics --timeout=1800 --durations=20

validation: $(READY_TO_COMPARE) ## the twins against other codes and theory: tables and pictures in docs
	@for script in $(VALIDATION); do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

soak: $(READY_TO_TEST) ## long runs: many kills, many seeds
	$(BIN)/pytest tests -m soak --timeout=0 --durations=20

speed: $(READY_TO_TEST) ## speed figures, written to speed/results
	@for script in $(SPEED); do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

clean: ## remove the environment, caches and builds; runs/ stays
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache

$(BIN)/python:
	@for python in "$(PYTHON)" python3.11 python3.12 python3.13 python3 python; do \
	    if [ -n "$$python" ] && "$$python" -c \
	        'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$python"; exec "$$python" -m venv $(VENV); \
	    fi; \
	done; \
	echo "twinloop needs Python 3.11 or newer with its venv module, and found none among:" >&2; \
	echo "  $(PYTHON) python3.11 python3.12 python3.13 python3 python" >&2; \
	echo "install one, or name yours: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1

$(READY_TO_RUN): | $(BIN)/python
	@echo "installing what a campaign needs (once; some minutes)"
	@$(INSTALL) setuptools
	@$(INSTALL) --no-build-isolation -e '.[all]'
	@$(COMPILE)
	@touch $@

$(READY_TO_TEST): | $(BIN)/python
	@echo "installing what a campaign and the tests need (once; some minutes)"
	@$(INSTALL) setuptools
	@$(INSTALL) --no-build-isolation -e '.[all,dev]'
	@$(COMPILE)
	@touch $(READY_TO_RUN) $@

$(READY_TO_COMPARE): $(READY_TO_TEST)
	@echo "installing the codes that twins are compared with (once; some minutes)"
	@$(INSTALL) -c constraints-oracles.txt --no-build-isolation -e '.[all,dev,oracles]'
	@$(COMPILE)
	@touch $@
