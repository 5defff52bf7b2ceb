# The commands of a newcomer. `make demo` and `make test` create what they need in .venv.
VENV := .venv
BIN := $(VENV)/bin

.NOTPARALLEL: # first what Debian brings, then the gigabytes
.PHONY: demo test kernels wheels native-test debian-demo debian-test lock fault-test fleet-test fleet-bench attack-test soak-test decode-test skeletons skeletons-test train-test oldest-test arm-test arm-count board-test clean ha-test web-test web-pictures ha-pictures teach-bench

demo: $(VENV)/.demo kernels
	$(BIN)/edge-agent demo

test: $(VENV)/.dev kernels
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --numprocesses 3 --dist loadfile # most tests wait: three do not crowd two cores

# The native engine's kernels, compiled into the source tree; where they cannot be, all the rest works without.
KERNELS := edge_agent/inference/native/.compiled
kernels: $(KERNELS)
$(KERNELS): $(wildcard native/*.c native/*.h native/build.py)
	@if command -v cc >/dev/null || command -v gcc >/dev/null; then python3 native/build.py edge_agent/inference/native && touch $@; \
		else echo "No C compiler: the native engine is left out"; fi

# Wheels for both machines, in dist/. For the other one it takes Debian's cross compiler, gcc-aarch64-linux-gnu.
wheels: $(VENV)/.dev
	for machine in x86_64 aarch64; do \
		EDGE_AGENT_MACHINE=$$machine $(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . || exit; done

# The broker killed a hundred times, the agent, the store of examples and an installation killed at random: minutes.
fault-test: $(VENV)/.dev
	$(BIN)/pytest -m fault tests/mqtt tests/teach tests/daemon

# Three nodes of NATS killed in turn under simulated devices, their network cut in half, changes pushed to real
# daemons, Prometheus: minutes; FLEET_DEVICES, FLEET_KILLS and FLEET_CUTS say how many. The network needs root.
fleet-test: $(VENV)/.dev kernels
	@requirements/debian fleet
	$(BIN)/pytest -s -m fleet tests/tools/fleet

# What a fleet of 100, 300 and 1,000 simulated devices takes on three nodes of NATS: a quarter of an hour.
fleet-bench: $(VENV)/.dev
	@requirements/debian fleet
	$(BIN)/python -m benchmarks.fleet

# Damage, hostile brokers and floods by the thousand: minutes.
attack-test: $(VENV)/.dev
	$(BIN)/pytest -m attack tests

# Thousands of frames through the whole daemon, its memory watched: minutes.
soak-test: $(VENV)/.dev
	$(BIN)/pytest -m soak tests/daemon

# What decoding pictures takes, of every kind and in growing sizes, held against what is computed: minutes.
decode-test: $(VENV)/.dev
	$(BIN)/python -m benchmarks.decoding
	$(BIN)/pytest -m decode -rP tests/daemon/test_pictures.py

# Records the code and structure of torchvision's networks again, after a new torchvision: minutes.
skeletons: $(VENV)/.dev
	$(BIN)/python -m edge_agent.tools.builder.skeletons.record

# The plan of every recorded architecture against that of torch's own network, byte for byte: minutes.
skeletons-test: $(VENV)/.dev
	$(BIN)/pytest -m skeletons tests/tools/builder/skeletons

# A training killed twenty times at random, which ends with the same weights, and others that take long: minutes.
train-test: $(VENV)/.dev
	PYTHONPATH=. $(BIN)/pytest -m train tests/tools/train

# With the libraries of Debian 12, the oldest that are supported.
OLDEST := $(CURDIR)/.cache/oldest
oldest-test: $(VENV)/.dev
	$(BIN)/pip install --quiet --no-deps --upgrade --target "$(OLDEST)" pillow==9.4.0 numpy==1.24.2 pyyaml==6.0.1 inotify_simple==1.3.5
	PYTHONPATH="$(OLDEST)" $(BIN)/pytest tests/sources tests/config tests/memory tests/model \
		tests/inference/test_preprocess.py tests/inference/test_xnnpack.py tests/pipeline/test_inference_loop.py tests/pipeline/test_motion.py

# The lean engine's ARM kernels, under emulation: minutes.
arm-test: $(VENV)/.dev
	tests/arm/run

# Instructions and memory traffic of one picture on emulated ARM cores: minutes.
arm-count: $(VENV)/.dev kernels
	tests/arm/instructions
	tests/arm/traffic

# The kernels of the native engine under sanitizers, valgrind and two compilers: minutes.
native-test: $(VENV)/.dev
	tests/native/run

# Installation and service on a virtual Raspberry Pi: an hour the first time.
board-test: $(VENV)/.dev
	tests/board/run

debian-demo debian-test: debian-%:
	@requirements/debian $*

$(VENV)/.demo: requirements/demo.lock pyproject.toml | debian-demo
	@requirements/install demo
	@touch $@

$(VENV)/.dev: requirements/dev.lock requirements/picamera2.lock pyproject.toml | debian-test
	@requirements/install dev
	@$(BIN)/pip download --quiet --no-deps --dest .cache --require-hashes --requirement requirements/picamera2.lock
	@touch $@

# What demo, tests and board install, at the newest releases.
lock: $(VENV)/.dev
	$(BIN)/pip install --quiet uv
	for script in requirements/lock-*; do PATH="$(CURDIR)/$(BIN):$$PATH" "$$script" || exit; done

# The owner's page in a real browser, below nginx, and under attack: minutes. Chromium and nginx are Debian's.
AXE := $(CURDIR)/.cache/axe-core-4.14.1.tgz
SCHEMATHESIS := $(CURDIR)/.cache/schemathesis
web-test: $(VENV)/.dev kernels
	@requirements/debian web
	[ -e "$(AXE)" ] || (cd .cache && npm pack --silent axe-core@4.14.1) || echo "No npm: what needs axe is skipped"
	[ -e "$(SCHEMATHESIS)" ] || $(BIN)/pip install --quiet --target "$(SCHEMATHESIS)" schemathesis==4.32.5
	AXE="$(AXE)" SCHEMATHESIS="$(SCHEMATHESIS)" $(BIN)/pytest -m web tests/web/browser

# The pictures of the page in its document.
web-pictures: $(VENV)/.dev kernels
	$(BIN)/python -m tests.web.browser.pictures docs/page-wide.png docs/page-phone.png

# The real Home Assistant (two releases), Node-RED, exporters and Prometheus; needs root, and minutes more the first time.
ha-test: $(VENV)/.dev
	tests/ha/run

# The pictures of Home Assistant in the guide of teaching; needs root.
ha-pictures: $(VENV)/.dev kernels
	tests/ha/take-pictures docs

# How good taught heads are, on scenes rendered by code; writes the figures of docs/teaching.md: minutes.
teach-bench: $(VENV)/.dev kernels
	$(BIN)/python -m benchmarks.teaching --json docs/teaching.json --svg docs/teaching.svg --page docs/teaching.md

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
