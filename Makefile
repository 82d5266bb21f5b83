# Needs Python >= 3.11 with venv, and a C++20 compiler; everything else is installed into $(VENV).
#   make demo    build and fit a model to real data        make test    every check
#   make lint    ruff and mypy                             make bench   measured claims; bench-all: the long ones too
#   make wheel   build a wheel and try it                  make docs    the documentation, in site/
#   make clean   remove what was built
PYTHON ?= python3
VENV   ?= .venv
CXX    ?= c++
JOBS   ?= 2

BIN    := $(abspath $(VENV))/bin
STAMPS := $(VENV)/.stamps
BUILD  := $(STAMPS)/build
TEST   := $(STAMPS)/test
PEERS  := $(abspath $(VENV))/peers
BENCH  := $(PEERS)/stamp
DOCS   := $(STAMPS)/docs
CORE   := $(STAMPS)/core
NATIVE := $(STAMPS)/native
ADAPTER := $(VENV)/marginaleffects
CORE_TESTS := $(patsubst cpp/tests/%.cpp,build/%,$(sort $(wildcard cpp/tests/test_*.cpp)))

# What the compiled core depends on; the Python files of an editable install are used where they lie.
HEADERS      := $(shell find cpp/include -type f)
CORE_SOURCES := pyproject.toml CMakeLists.txt $(HEADERS) $(shell find cpp/bindings -type f)

export PATH := $(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test lint bench bench-all wheel docs clean pytest test-adapter test-core
.DELETE_ON_ERROR:

# Of kernels the demonstration builds those that this machine runs, unless all are there.
demo: $(if $(wildcard $(CORE)),$(CORE),$(NATIVE))
	$(BIN)/clusterglm fit bacteria "y ~ trt + I(week > 2)" --cluster ID

# What measures no time goes side by side. Beside the tests nothing else runs, for some of them do.
test: $(TEST) $(CORE)
	$(MAKE) --no-print-directory -j $(JOBS) lint $(CORE_TESTS)
	$(MAKE) --no-print-directory pytest
	$(MAKE) --no-print-directory test-adapter
	$(MAKE) --no-print-directory test-core

lint: $(TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What measures time comes last and alone. Each worker has its own part of the files, so that fits that several tests of
# a file look at are fitted once, and helps the others when it is done; threads of linear algebra would wait for each other.
pytest: $(TEST) $(CORE)
	OPENBLAS_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist worksteal -m "not alone" $(ARGS)
	$(BIN)/pytest -m alone tests/test_kernel_ratios.py

# marginaleffects wants a polars older than the one that the other tests run with: both lie in a folder of their own.
test-adapter: $(TEST) $(CORE) $(ADAPTER)
	PYTHONPATH=$(ADAPTER) $(BIN)/pytest tests/results/test_marginaleffects.py::test_the_package_itself

test-core: $(CORE_TESTS)
	set -e; for each in $(CORE_TESTS); do echo $$each; $$each; done

build/%: cpp/tests/%.cpp $(HEADERS)
	@mkdir -p build
	$(CXX) -std=c++20 -O0 -g1 -Wall -Wextra -Wno-psabi -fsanitize=address,undefined -fno-sanitize-recover=undefined \
	  -Icpp/include $< -o $@ -pthread

# On an otherwise idle machine. An interrupted run goes on where it was; what the commit has measured is not measured again.
# The page of the documentation and the figures in README follow what was measured.
bench bench-all: $(BENCH)
	$(PEERS)/bin/python benchmarks/run.py $(if $(filter bench-all,$@),--all) $(ARGS); status=$$?; \
	  $(PEERS)/bin/python docs/tools/benchmarks.py --update && exit $$status

# The wheel is tried in an environment of its own, away from the source tree, because it may lack files that the tree has.
wheel: $(BUILD)
	rm -rf dist build/wheel-venv
	$(BIN)/python -m pip wheel --no-build-isolation --no-deps --wheel-dir dist .
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install --quiet dist/clusterglm-*.whl
	cd build/wheel-venv && PYTHONPATH= bin/python -c "import clusterglm; print(clusterglm.__version__, clusterglm.__file__)"
	cd build/wheel-venv && PYTHONPATH= bin/clusterglm fit bacteria "y ~ trt + I(week > 2)" --cluster ID

# Nothing is fetched while it is built or read. The code on the pages runs in tests/test_docs.py.
# (`--quiet` would keep from `--strict` the warnings that it is to fail on.)
docs: $(DOCS) $(CORE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf build dist site docs/pictures .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Groups of dependencies (pyproject.toml) need pip 25.1.
$(BUILD): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "clusterglm needs Python 3.11 or later; try make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --group build
	@mkdir -p $(STAMPS)
	@touch $@

$(CORE): $(BUILD) $(CORE_SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable .
	@touch $@

$(NATIVE): $(BUILD) $(CORE_SOURCES)
	$(BIN)/python -m pip install --quiet --no-build-isolation --config-settings=cmake.define.CLUSTERGLM_GENERATIONS=native --editable .
	@touch $@

$(TEST): $(BUILD)
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(ADAPTER): $(TEST)
	$(BIN)/python -m pip install --quiet --no-deps --target $@ "marginaleffects==0.6.*" "polars<2" "polars-runtime-32<2"
	@touch $@

$(DOCS): $(BUILD)
	@$(BIN)/python -m pip install --quiet --group docs
	@touch $@

# An environment of its own, so that what the peers want does not disturb what the tests run with.
$(BENCH): $(CORE_SOURCES)
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PEERS)/bin/python -m pip install --quiet --group build --group bench
	PATH=$(PEERS)/bin:$$PATH $(PEERS)/bin/python -m pip install --quiet --no-build-isolation --config-settings=build-dir=build/bench --editable .
	@touch $@
