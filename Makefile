# One-line targets; `make` alone lists them. Everything but build, size and bench is built with the profile `fast`,
# so that librdkafka is compiled once.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
FUZZ_SECONDS ?= 600
SIM_SEEDS ?= 0
SIZE_MAX_BYTES := 4000000

tests := $(sort $(basename $(notdir $(wildcard tests/*.rs))) $(patsubst tests/%/main.rs,%,$(wildcard tests/*/main.rs)))
real_tests := $(filter real_%,$(tests))
short_tests := $(filter-out real_%,$(tests))

.PHONY: help deps build run test test-short test-int test-openapi clients sim smoke bench bench-micro coverage lint fmt fuzz asan proto clean size

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

deps: ## fetch crates, what tests against real Kafka need (Java, jars or an image), and Schemathesis
	$(CARGO) fetch --locked
	scripts/kafka.sh fetch
	scripts/schemathesis.sh --fetch
	scripts/postgres.sh fetch

build: ## the release binary, target/release/sluice
	$(CARGO) build --release

run: ## build and serve on loopback, with the embedded broker unless KAFKA_BOOTSTRAP_SERVERS is set
	$(CARGO) build --profile fast --bin sluice
	GATEWAY_LISTEN_ADDR=127.0.0.1 KAFKA_BOOTSTRAP_SERVERS=$${KAFKA_BOOTSTRAP_SERVERS:-embedded} $(TARGET_DIR)/fast/sluice serve

test: test-short test-int test-openapi ## everything: test-short, the tests against real Kafka, Schemathesis

test-short: ## all tests that need nothing but cargo, gcc and make
	$(CARGO) test --profile fast --no-fail-fast --lib --bins --examples $(addprefix --test ,$(short_tests))
	$(CARGO) test --profile fast --doc

test-int: ## the tests against real Kafka and PostgreSQL, which scripts/kafka.sh and scripts/postgres.sh get and start
	scripts/kafka.sh fetch
	scripts/postgres.sh fetch
	$(CARGO) test --profile fast --no-fail-fast $(addprefix --test ,$(real_tests))

test-openapi: ## Schemathesis, which scripts/schemathesis.sh gets, against a running gateway and its /openapi.json
	scripts/schemathesis.sh

clients: ## curl, ab, wrk, hey and Python's requests against a running gateway
	scripts/clients.sh

sim: ## the simulation over ever new seeds until stopped; SIM_SEEDS=N for N of them
	SIM_SEEDS=$(SIM_SEEDS) $(CARGO) test --profile fast --test simulation -- --nocapture

smoke: ## S0's smoke and AC1-AC6, against the embedded broker and against real Kafka
	scripts/smoke.sh embedded
	scripts/smoke.sh real

bench: ## Sluice and every peer found here, alternately against one sink
	scripts/bench.sh

bench-micro: ## micro benchmarks of wire, admission, pipeline, handoff, kafka
	$(CARGO) bench

coverage: ## line coverage of the short tests
	@$(CARGO) llvm-cov --version >/dev/null 2>&1 || { echo "missing; install it with: cargo install cargo-llvm-cov --locked"; exit 1; }
	$(CARGO) llvm-cov --profile fast --lib --bins $(addprefix --test ,$(short_tests))

lint: ## rustfmt, clippy with warnings denied, unused dependencies and deny.toml where the tools are there
	scripts/lint.sh

fmt: ## format the code
	$(CARGO) fmt

fuzz: ## every fuzz target for FUZZ_SECONDS (600) each
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz.sh

asan: ## the library's tests under AddressSanitizer
	scripts/asan.sh

proto: ## check that the schemas compile
	touch proto/*.proto
	$(CARGO) check --profile fast --lib

clean: ## remove what was built and downloaded
	$(CARGO) clean
	rm -rf .cache

size: ## the stripped --no-default-features release binary against its 4 MB
	$(CARGO) build --release --no-default-features --bin sluice
	@bytes=$$(stat -c %s $(TARGET_DIR)/release/sluice); echo "$$bytes bytes of at most $(SIZE_MAX_BYTES)"; ((bytes <= $(SIZE_MAX_BYTES)))

