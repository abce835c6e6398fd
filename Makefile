# make test on a fresh machine: environment, packages, the whole suite. PYTHON and PYTEST_ARGS may be set.
PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
INSTALLED := $(VENV)/.installed
DEMO_INSTALLED := $(VENV)/.demo-installed
KERNELS := $(wildcard perception/ops/csrc/*)

# The suite's tensors are small: more threads than this cost more than they bring, however large the machine.
export OMP_NUM_THREADS ?= 2

.PHONY: help demo test lint clean

help:
	@echo "make demo    environment, a small simulated city, three detectors in it, and a report: out/demo/report.html"
	@echo "make test    environment in $(VENV), then the test suite (PYTEST_ARGS='-k camera -x' narrows it)"
	@echo "make lint    ruff: rules and format"
	@echo "make clean   remove the environment and everything built"

demo: $(DEMO_INSTALLED)
	$(VENV)/bin/python tools/demo.py --out out/demo

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# A stamp, so that nothing is installed again until what is to be installed has changed.
$(INSTALLED): setup.py pyproject.toml constraints.txt $(KERNELS)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt -e '.[test]'
	touch $@

$(DEMO_INSTALLED): setup.py pyproject.toml constraints.txt $(KERNELS)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt -e '.[sim]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
