# Every gate in one place; .ci/run and the pre-commit hooks run these and nothing else.
VENV ?= .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
STAMP := $(VENV)/.installed
# Without a display MuJoCo draws through EGL, which also needs no GPU.
ifndef DISPLAY
MUJOCO_GL ?= egl
export MUJOCO_GL
endif
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check format bench check-aarch64 wheel clean

help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP)  ## create .venv with all that is needed here, pinned, and git's hooks

SETUP := $(addprefix scripts/,setup.sh find_python.sh install_gl.sh check_gl.py install_hooks.sh)

$(STAMP): pyproject.toml constraints.txt $(SETUP)
	scripts/setup.sh $(VENV)
	@touch $@

demo: $(STAMP)  ## learn to reach, export, verify, drive from ONNX, leave a page to look at
	$(BIN)/robodreamer demo

# One process per core; each keeps to the tests that lie together, which share what is made once.
WORKERS ?= 2
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist worksteal
# Tests start many interpreters: without compiled files each would compile the sources again.
test test-all: export PYTHONDONTWRITEBYTECODE :=

test: $(STAMP)  ## what every change must pass, about five minutes on two cores
	$(PYTEST) -m 'not slow and not learns and not gpu and not hardware'

test-all: $(STAMP)  ## everything that needs neither GPU nor robot, in depth, with coverage
	$(PYTEST) -m 'not gpu and not hardware' --hypothesis-profile=deep --cov --cov-report=term

check: $(STAMP)  ## lint, format, import contracts, types; about 20 s
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright --pythonpath $(PY)

format: $(STAMP)  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)  ## run every benchmark and print its figures
	@set -e; for benchmark in $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)); do \
	    echo "== $$benchmark"; $(PY) $$benchmark; done

check-aarch64: $(STAMP)  ## prove that all a robot installs has wheels for its processor
	$(PY) scripts/check_aarch64.py

wheel: $(STAMP)  ## build the wheel and prove that it drives a policy without torch
	rm -rf dist build/bare
	$(PY) -m build --wheel --no-isolation
	$(PY) -m venv build/bare
	build/bare/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	scripts/prove_bare.sh build/bare/bin

clean:  ## remove what was built, but neither .venv nor runs
	rm -rf build dist .coverage .pytest_cache .ruff_cache .import_linter_cache .hypothesis
