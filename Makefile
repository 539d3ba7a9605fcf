# What one types in this repository. `make help` lists it. Rules only call scripts and cargo: all that they do can be typed by hand.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo build test unit lint bench sweep soak crowd fleet fleet-down

help: ## List the rules
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Three servers on this machine, a deploy under traffic, a broken release put back
	@vagrant/demo

build: ## Build the program: target/release/flipside
	cargo build --release --locked

test: ## All tests: format, lints, unit, SSH, Docker engine, acceptance on two local fleets side by side
	@tests/run

unit: ## The tests that need neither a fleet nor root
	cargo test --locked
	cargo test --release --locked --test plan

lint: ## Format and lints
	cargo fmt --check && cargo clippy --locked --all-targets -- -D warnings

bench: ## What a deploy takes beside what it cannot do without, on the local fleet
	@tests/bench/run

sweep: ## Kill, cut or interrupt a deploy at every one of its events, and every fault at every wave, in memory and on the local fleet: some hours. MINUTES=30: a spread on the fleet
	$(if $(MINUTES),,FLIPSIDE_SWEEP=full cargo test --release --locked --test plan -- sweep::)
	FLIPSIDE_SWEEP=$(or $(MINUTES),full) cargo test --release --locked --test acceptance -- sweep:: faults::

soak: ## A thousand toggles under full load, every request counted: some hours. TOGGLES=100 MINUTES=20 SERVERS=3 PAUSE=20 for others
	@tests/bench/soak $(or $(TOGGLES),1000) $(or $(MINUTES),360) $(or $(SERVERS),1) $(or $(PAUSE),2)

crowd: ## Fifty real servers behind one sshd as it is shipped, deployed to under traffic: some 40 minutes, 16 GB of disk. SERVERS=20 for fewer
	@tests/bench/crowd $(or $(SERVERS),50)

fleet: ## Start the local fleet: three servers, named by inventory/local.toml
	@vagrant/fleet up

fleet-down: ## Take the local fleet away
	@vagrant/fleet down
