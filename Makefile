# Diptych. `make demo` runs the main job and leaves the UI running; `make test` passes every test.
# Both install what they need, tell what they do, and are quick the second time.

CARGO ?= cargo
ARGS ?=
CHROMIUM ?= /usr/bin/chromium
# With torch, diffusers, transformers and safetensors, for `bench`, `steps`, `memory` and `goldens` alone.
PYTHON ?= python3

.PHONY: demo test lint build web setup-browser screenshots grid lighthouse pretrain bench steps memory load scoring schema fuzz goldens kills check-cuda

## build: the web pages, then the binary that embeds them
build: web
	$(CARGO) build --release --locked -p server

## web: install the pages' packages (once a lock file) and build them
web: web/node_modules/.installed
	cd web && npm run build

web/node_modules/.installed: web/package-lock.json
	@echo "Installing the packages of web/"
	cd web && npm ci --no-audit --no-fund
	@touch $@

tests/browser/node_modules/.installed: tests/browser/package-lock.json
	@echo "Installing the packages of tests/browser/"
	cd tests/browser && npm ci --no-audit --no-fund
	@touch $@

## demo: graphs, candidates, scores, pairs, training, evaluation, UI; `make demo ARGS=--once` stops after the run
demo: build
	./target/release/diptych demo $(ARGS)

## setup-browser: Debian's Chromium, where it is missing
setup-browser: tests/browser/node_modules/.installed
	@if [ ! -x "$(CHROMIUM)" ]; then \
		echo "Installing chromium, which the browser test needs"; \
		if [ "$$(id -u)" = 0 ]; then apt-get update -q && apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; \
		elif command -v sudo >/dev/null; then sudo apt-get update -q && sudo apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; \
		else echo "chromium is missing and cannot be installed without root: apt-get install chromium"; exit 1; fi; \
	fi

## test: everything
test: build lint setup-browser
	$(CARGO) test --release --locked --workspace
	python3 tests/schema/run.py
	python3 tests/client/run.py
	cd web && npm test
	cd tests/browser && npm test

## lint: the form of the code, and what clippy finds in it
lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

## screenshots: the pictures in docs/images, from a running demo at DIPTYCH_URL
screenshots: setup-browser
	cd tests/browser && npm run screenshots

## grid: first paint and scrolling of the graph browser at 11,140 candidates
grid: build setup-browser
	cd tests/browser && npm run grid

## lighthouse: performance and accessibility of the main pages of a running demo at DIPTYCH_URL, at least 95 each
lighthouse: setup-browser
	cd tests/browser && npm run lighthouse

## pretrain: makes models/tiny from nothing, in DIR
pretrain: build
	./target/release/diptych pretrain $(ARGS)

## bench: speed against torch eager, in turns, as a table; `ARGS="--sizes tiny,small,medium --threads 2"`
bench: build
	$(CARGO) build --release --locked --workspace --example candle_unet
	$(PYTHON) tests/parity/bench.py $(ARGS)

## steps: training against torch eager, and an epoch against the official algorithm, as tables (docs/performance.md)
steps: build
	$(PYTHON) tests/parity/training_step.py $(ARGS)

## memory: peak of a UNet's gradient at several sizes (docs/memory.md)
memory: build
	$(PYTHON) scripts/memory.py $(ARGS)

## schema: cases made from the API's document; `ARGS="--seconds 300"`
schema: build
	python3 tests/schema/run.py $(ARGS)

## load: what the service bears under 64 callers, 1,000 listeners and hostile requests, as a table (docs/api.md)
load: build
	$(CARGO) test --release --locked -p tests --bench load

## scoring: how fast pictures and answers become scores, as a table (docs/metrics.md)
scoring: build
	$(CARGO) test --release --locked -p tests --bench scoring

## fuzz: damages model files for so many seconds; `ARGS=600`
fuzz:
	DIPTYCH_FUZZ_SECONDS=$(or $(ARGS),60) DIPTYCH_FUZZ_SEED=$$(date +%s) \
		$(CARGO) test --release --locked -p tests --test parity damaged_models -- --nocapture

## goldens: the reference values of tests/parity; `ARGS=tiny` after each training of models/tiny
goldens:
	$(PYTHON) tests/parity/make_goldens.py $(ARGS)

## kills: one training run, killed 50 times at random instants, ends with the weights of an undisturbed one
kills: build
	DIPTYCH_KILLS=50 $(CARGO) test --release --locked -p server --test cli killed_again -- --nocapture

## check-cuda: that the networks compile for CUDA, with a toolkit out of PyPI's wheels; needs no GPU
check-cuda:
	eval "$$(scripts/cuda-toolkit.sh target/cuda)" && $(CARGO) check --release --locked -p models --features cuda
