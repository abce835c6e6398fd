# make test on a fresh machine: environment, packages, the whole suite. PYTHON and PYTEST_ARGS may be set.
PYTHON ?= python3
PYTEST_ARGS ?=
VENV := .venv
INSTALLED := $(VENV)/.installed
DEMO_INSTALLED := $(VENV)/.demo-installed
KERNELS := $(wildcard perception/ops/csrc/*)

# The suite's tensors are small: more threads than this cost more than they bring, however large the machine.
export OMP_NUM_THREADS ?= 2

# The kernels once more, built to find faults: GCC's AddressSanitizer sees what Python gives them; ThreadSanitizer knows
# OpenMP's threads only by Clang's library for it, and sees check_kernels.cpp (apt-get install clang libomp-dev).
CLANG ?= clang++
SANITIZED := build/sanitized
SANITIZE := -std=c++17 -O1 -g1 -fopenmp -ffp-contract=fast -Iperception/ops/csrc
CHECK := tests/perception/ops/check_kernels.cpp
PRELOADED = $(shell $(CXX) -print-file-name=libasan.so) $(shell $(CXX) -print-file-name=libstdc++.so)

.PHONY: help demo test lint sanitize aarch64 clean

help:
	@echo "make demo    environment, a small simulated city, three detectors in it, and a report: out/demo/report.html"
	@echo "make test    environment in $(VENV), then the test suite (PYTEST_ARGS='-k camera -x' narrows it)"
	@echo "make lint    ruff: rules and format"
	@echo "make sanitize  the kernels under Address-, UndefinedBehavior- and ThreadSanitizer; needs g++ and clang++"
	@echo "make aarch64   the kernels on an emulated ARM processor; needs g++-aarch64-linux-gnu and qemu-user"
	@echo "make clean   remove the environment and everything built"

demo: $(DEMO_INSTALLED)
	$(VENV)/bin/python tools/demo.py --out out/demo

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

sanitize: export TSAN_OPTIONS := ignore_noninstrumented_modules=1 # such as OpenMP's own
sanitize: $(INSTALLED) $(SANITIZED)/kernels.so $(SANITIZED)/races
	$(SANITIZED)/races race 2>&1 | grep 'WARNING: ThreadSanitizer: data race' # the one on purpose is found
	$(SANITIZED)/races
	for isa in baseline avx2 avx512_bf16 amx; do \
	    env BEVFUSE_ISA=$$isa BEVFUSE_KERNELS=$(SANITIZED)/kernels.so ASAN_OPTIONS=detect_leaks=0 \
	        LD_PRELOAD='$(PRELOADED)' $(VENV)/bin/python -m tests.perception.ops.fuzz 2000 || exit 1; \
	done
	env BEVFUSE_KERNELS=$(SANITIZED)/kernels.so ASAN_OPTIONS=detect_leaks=0 \
	    LD_PRELOAD='$(PRELOADED)' $(VENV)/bin/python -m pytest tests/perception/ops $(PYTEST_ARGS)

# The kernels on another processor, emulated: apt-get install g++-aarch64-linux-gnu qemu-user.
aarch64: build/aarch64/check_kernels
	qemu-aarch64 $<

build/aarch64/check_kernels: $(KERNELS) $(CHECK)
	mkdir -p $(@D)
	aarch64-linux-gnu-g++ -std=c++17 -O3 -fopenmp -ffp-contract=fast -Iperception/ops/csrc -static \
	    $(CHECK) perception/ops/csrc/*.cpp -o $@

$(SANITIZED)/kernels.so: $(KERNELS)
	mkdir -p $(SANITIZED)
	$(CXX) $(SANITIZE) -fsanitize=address,undefined -fno-sanitize-recover=undefined -fPIC -fvisibility=hidden -shared \
	    perception/ops/csrc/*.cpp -o $@

$(SANITIZED)/races: $(KERNELS) $(CHECK)
	mkdir -p $(SANITIZED)
	$(CLANG) $(SANITIZE) -fsanitize=thread $(CHECK) perception/ops/csrc/*.cpp -o $@

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
