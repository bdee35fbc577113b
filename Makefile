# Everything there is to do with the repository. `make` lists it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# One selection of packages for every call: another one resolves other features and builds DataFusion again.
ALL := --locked --workspace
TARGET := $(or $(CARGO_TARGET_DIR),target)
PROTOC := .tools/protoc/bin/protoc
LOG := $(TARGET)/tests.log

# Where there is clippy, it is the compiler of our crates for checks and tests alike: each is compiled once, where
# `cargo clippy` would compile all of them, and what they depend on, a second time.
CHECKED := $(if $(shell command -v clippy-driver),RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__) cargo

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-11s %s\n", $$1, $$2 }'

.PHONY: protoc
protoc: $(PROTOC) ## put the protobuf compiler in place
$(PROTOC):
	cargo run --locked --target-dir $(TARGET) --manifest-path proto/protoc/Cargo.toml -- .tools/protoc

.PHONY: build
build: protoc ## build everything
	cargo build $(ALL)

.PHONY: demo
demo: protoc ## load a year of flights into a Delta table on this machine
	cargo build $(ALL) --bins
	$(TARGET)/debug/windrow run examples/flights/

.PHONY: lint
lint: protoc ## format and lints
	cargo fmt --all --check
	@command -v clippy-driver >/dev/null || { echo "clippy is missing: rustup component add clippy"; exit 1; }
	$(CHECKED) build $(ALL) --all-targets

.PHONY: check
check: lint ## the same, rules of the house, unit tests
	$(CHECKED) test $(ALL) --lib --bins --test tidy
	$(CHECKED) test $(ALL) --test sim short

.PHONY: tools-jaeger
tools-jaeger: ## build Jaeger, which shows traces, into .tools; takes Go and some minutes
	@.ci/tools jaeger

.PHONY: tools
tools: ## install what tests talk to: etcd, PostgreSQL, and Python with independent readers
	@.ci/tools

# Tests that lack something say `SKIPPED name: reason`; they are counted, so that less is never taken for all.
.PHONY: test
test: protoc tools ## all tests
	@mkdir -p $(TARGET)
	$(CHECKED) build $(ALL) --bins
	$(CHECKED) test $(ALL) -- --show-output 2>&1 | tee $(LOG)
	@grep -h '^SKIPPED ' $(LOG) | sort -u || true
	@echo "skipped: $$(grep -c '^SKIPPED ' $(LOG) || true)"

# One seed again, told in every detail: $(TARGET)/debug/windrow-sim --seed N --trace
SEEDS ?= 2000
.PHONY: soak
soak: protoc ## the simulation with SEEDS=n seeds, 2000 unless told otherwise
	WINDROW_SEEDS=$(SEEDS) $(CHECKED) test $(ALL) --test sim long -- --ignored --nocapture

# `make fuzz SECONDS=300 NAME="csv ticket"` takes longer over some. The first run compiles everything once more.
SECONDS ?= 20
.PHONY: fuzz
fuzz: protoc ## made-up input for all that parses bytes of others, SECONDS=n for each target
	@.ci/fuzz $(SECONDS) $(NAME)

# `make bench NAME="year claims"` measures some; ARGS=--gate fails when a goal is missed, ARGS=--long takes longer.
.PHONY: bench
bench: protoc tools ## measure beside limits and peers, with optimisation
	@.ci/tools peers
	cargo build $(ALL) --release --bins
	$(TARGET)/release/windrow-benches $(NAME) $(ARGS)

# CELLS=F3-*-delta chooses, SEED=n varies, FRESH=1 begins anew instead of going on after what held.
.PHONY: chaos
chaos: protoc tools ## every fault at every point, one after the other; takes an hour
	$(CHECKED) build $(ALL) --bins
	$(CHECKED) test $(ALL) --test chaos -- --ignored --nocapture every_cell

.PHONY: failures
failures: protoc ## take what runs have shown here into docs/failures.md
	WINDROW_MERGE=1 WINDROW_UPDATE=1 $(CHECKED) test $(ALL) --test tidy failures

.PHONY: docs
docs: protoc ## write the generated documents: capabilities, failures, index of errors, JSON Schema
	WINDROW_UPDATE=1 $(CHECKED) test $(ALL) --lib --test tidy up_to_date
	WINDROW_UPDATE=1 $(CHECKED) test $(ALL) --lib --test tidy index_of

.PHONY: clean-data
clean-data: ## remove what demos and local runs left
	rm -rf .windrow examples/*/lake examples/*/.windrow
