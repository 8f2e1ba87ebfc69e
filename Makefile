# One line a target; `make` or `make help` explains them. Build output stays outside the checkout.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/sluice/target
export SLUICE_BIN ?= $(CARGO_TARGET_DIR)/debug/sluice
.PHONY: help demo test sim chaos lint fmt bench bench-cluster plugins

help: ## this list
	@awk -F ': ## ' '/^[a-z-]+: ## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## real earthquakes through a gate and a view, shown in this terminal, until Ctrl-C
	@scripts/prerequisites demo && scripts/build-plugins && cargo run --release -q -p sluice -- demo

test: ## every test: real brokers, a real ZooKeeper, kcat, librdkafka, Python and Java clients
	@scripts/prerequisites test && scripts/build-plugins && cargo test -q --workspace --no-run && cargo test --workspace

sim: ## SEEDS (50000) simulated clusters, and the planted bugs; SEED=n runs one and tells it in full
	@SIM_SEEDS=$(or $(SEEDS),50000) $(if $(SEED),SIM_SEED=$(SEED)) cargo test -q --release -p sluice-cluster --lib simulation::tests -- --nocapture

chaos: ## everything that can go wrong with a cluster, mixed by SEED for MINUTES (60), and what it came to
	@scripts/prerequisites test && cargo test -q --workspace --no-run && CHAOS_MINUTES=$(or $(MINUTES),60) CHAOS_SEED=$(SEED) cargo test -p sluice-tests --test chaos -- --nocapture

lint: ## formatting, clippy with warnings as errors, and the rules of the house (tidy)
	@cargo fmt --all --check && cargo clippy -q --workspace --all-targets -- -D warnings && cargo test -q -p sluice-tests --test tidy

fmt: ## format all code
	@cargo fmt --all

bench: ## micro-benchmarks of the data path, as ratios within one run
	@scripts/prerequisites demo && scripts/build-plugins && cargo bench --workspace

bench-cluster: ## what losing, rolling and changing a cluster costs, Apache Kafka 3.9 beside it in the same run
	@scripts/prerequisites bench-cluster && cargo build --release -q -p sluice && SLUICE_BIN=$(CARGO_TARGET_DIR)/release/sluice cargo bench -q -p sluice-tests --bench cluster

plugins: ## build the first-party plugins as Wasm components
	@scripts/prerequisites demo && scripts/build-plugins
