# The commands of a newcomer. `make demo` and `make test` create what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test fault-test attack-test soak-test oldest-test arm-test board-test clean

demo: $(VENV)/.demo
	$(BIN)/edge-agent demo

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

# The broker killed a hundred times, the agent killed at random: minutes.
fault-test: $(VENV)/.dev
	$(BIN)/pytest -m fault tests/mqtt

# Damage, hostile brokers and floods by the thousand: minutes.
attack-test: $(VENV)/.dev
	$(BIN)/pytest -m attack tests

# Thousands of frames through the whole daemon, its memory watched: minutes.
soak-test: $(VENV)/.dev
	$(BIN)/pytest -m soak tests/daemon

# With the libraries of Debian 12, the oldest that are supported.
OLDEST := $(CURDIR)/.cache/oldest
oldest-test: $(VENV)/.dev
	$(BIN)/pip install --quiet --no-deps --upgrade --target $(OLDEST) pillow==9.4.0 numpy==1.24.2 pyyaml==6.0.1 inotify_simple==1.3.5
	PYTHONPATH=$(OLDEST) $(BIN)/pytest tests/sources tests/config tests/memory tests/model \
		tests/inference/test_preprocess.py tests/inference/test_xnnpack.py tests/pipeline/test_inference_loop.py tests/pipeline/test_motion.py

# The lean engine's ARM kernels, under emulation: minutes.
arm-test: $(VENV)/.dev
	tests/arm/run

# Installation and service on a virtual Raspberry Pi: an hour the first time.
board-test: $(VENV)/.dev
	tests/board/run

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable '.[torch,demo]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable '.[torch,opencv,demo,bench,dev]'
	# Its source alone: the fake camera of the tests is held to the real signatures.
	$(BIN)/pip download --quiet --no-deps --dest .cache picamera2==0.3.38
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
