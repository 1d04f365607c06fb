# Two commands do everything on a fresh machine with Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
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

bench: $(STAMP) ## time the hot paths, as ratios side by side
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pytest -q -p no:cacheprovider --benchmark-columns=min,median,rounds tests/benchmarks

docs: $(STAMP) ## rewrite the generated pages
	HWMPQ_WRITE_VALIDATION=1 $(BIN)/python -m pytest -q tests/reference

clean: ## remove the environment and build results
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
