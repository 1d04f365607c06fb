# Two commands do everything on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.bench-installed
# SCALE-Sim needs NumPy below 2, whose wheels end at Python 3.12, so it has an environment of its own.
SCALESIM_PYTHON ?= $(PYTHON)
SCALESIM_VENV := .venv-scalesim
SCALESIM_STAMP := $(SCALESIM_VENV)/.installed
SCALESIM_PINS := tests/benchmarks/scalesim-constraints.txt
# Tiny networks are fastest on one thread; see docs/decisions/0004-one-thread.md.
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test test-fast check golden bench docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## create .venv and install hwmpq with the tested versions

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hwmpq needs Python 3.11 or newer; set PYTHON=python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,onnx,cluster,search]'
	@touch $(STAMP)

demo: $(STAMP) ## train a mixed-precision network for a modelled accelerator and write its report
	rm -rf runs/demo
	$(BIN)/hwmpq optimize resnet20-digits -a bitfusion-edge -m bmpq --latency 0.25x -o runs/demo
	@echo "Report: runs/demo/report.html"

test: $(STAMP) ## run every test
	$(BIN)/python -m pytest -q -n 2 --dist loadscope

test-fast: $(STAMP) ## run the tests that train nothing
	$(BIN)/python -m pytest -q -n 2 -m "not slow"

check: $(STAMP) ## lint, types, import contracts, shipped files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/hwmpq check accelerators/*.yaml workloads/*.yaml

golden: $(STAMP) ## rewrite the stored results that golden tests compare with
	HWMPQ_REWRITE_GOLDEN=1 $(BIN)/python -m pytest -q -m golden tests

bench: $(BENCH_STAMP) $(SCALESIM_STAMP) ## measure the hot paths beside other tools, in CPU seconds
	$(BIN)/python -m pytest -q -rs -p no:cacheprovider --benchmark-disable-gc --benchmark-timer=time.process_time \
		--benchmark-columns=min,median,rounds tests/benchmarks

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $(BENCH_STAMP)

$(SCALESIM_STAMP): $(SCALESIM_PINS)
	@$(SCALESIM_PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { echo "SCALE-Sim needs Python 3.11 or 3.12; set SCALESIM_PYTHON=python3.12"; exit 2; }
	test -x $(SCALESIM_VENV)/bin/python || $(SCALESIM_PYTHON) -m venv $(SCALESIM_VENV)
	$(SCALESIM_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(SCALESIM_PINS) scalesim
	@touch $(SCALESIM_STAMP)

docs: $(STAMP) ## rewrite the generated pages
	HWMPQ_WRITE_VALIDATION=1 $(BIN)/python -m pytest -q tests/reference

clean: ## remove the environment and build results
	rm -rf $(VENV) $(SCALESIM_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
