# `make test` checks everything and needs nothing but the Rust toolchain: what a part needs besides (Node, Chromium, Python, ip, nft)
# it uses if it is there, installs if it may, and else says that it was skipped.
# Written outside of target/: by `fix`, `seeds`, `compare`, `curve` and `restart` the files that they are for; by `run` copycat-data/; by `browser` and its like
# tests/browser/node_modules/; by `tools` the toolchain's directory; and packages of the system (apt-get), if root runs `cluster` or `browser`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

CARGO ?= cargo
# How many simulated runs `campaign` makes, how many more begin with two voters, and how long each is.
SEEDS ?= 50000
SEEDS_OF_TWO ?= 10000
STEPS ?= 15000

.PHONY: help run test verify unit simulate seeds cluster browser screenshots cost fuzz campaign compare curve restart bench fix tools

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

run: ## a cluster of three in one process, at http://127.0.0.1:8700
	@$(CARGO) run --release -- dev

test: verify unit simulate cluster browser fuzz ## everything: verify, unit tests, simulator, real processes, a browser
	@echo "make test: all passed"

verify: ## format, lints, docs, dependencies; writes nothing
	@$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy --workspace --all-targets --features planted-bugs -- -D warnings
	$(CARGO) check --lib --no-default-features
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	.ci/no-tokio
	$(CARGO) fmt --all --manifest-path benches/compare/Cargo.toml -- --check --config-path rustfmt.toml
	if $(CARGO) deny --version >/dev/null 2>&1; then
		$(CARGO) deny --all-features check
	else
		echo "skipped: cargo-deny not installed (make tools)"
	fi

unit: ## unit, contract, golden and crash-image tests
	@$(CARGO) test --profile quick --workspace --lib --bins
	$(CARGO) test --profile quick --workspace --doc
	$(CARGO) test --profile quick --package copycat-storage --package copycat-http --package copycat-testkit --tests
	for test in $$(find tests -mindepth 1 -maxdepth 1 \( -name '*.rs' -o -exec test -f {}/main.rs \; \) -print | sort); do
		name=$$(basename "$$test" .rs)
		case "$$name" in simulation | explorer | replay | cluster) continue ;; esac
		$(CARGO) test --profile quick --test "$$name"
	done

simulate: ## the simulator, the explorer, the replay checker and their planted bugs; COPYCAT_SIM_SEED=n replays one run
	@$(CARGO) test --profile quick --features planted-bugs --test scripts --test replay --test explorer --test simulation

seeds: ## searches a seed for each planted bug, and writes them into docs/correctness.md
	@COPYCAT_UPDATE=1 $(CARGO) test --profile quick --features planted-bugs --test simulation -- --ignored --nocapture search

cluster: ## real processes: kills, pauses, cut connections, members that come and go
	@.ci/hosts
	$(CARGO) test --profile quick --test cluster -- --nocapture

browser: ## the dashboard in Chromium, against three real processes; needs Node, installs Chromium where it may
	@$(CARGO) build --profile quick
	.ci/browser "$${CARGO_TARGET_DIR:-target}/quick/copycat" test

screenshots: ## every page of the dashboard, light and dark, wide and narrow, into target/screenshots
	@$(CARGO) build --profile quick
	.ci/browser "$${CARGO_TARGET_DIR:-target}/quick/copycat" screenshots

cost: ## what an open dashboard costs its server, and what its first page weighs
	@$(CARGO) build --release
	.ci/browser "$${CARGO_TARGET_DIR:-target}/release/copycat" cost

fuzz: ## all endpoints as /openapi.json has them, and as it has not, on a running cluster
	@$(CARGO) build --profile quick
	.ci/fuzz "$${CARGO_TARGET_DIR:-target}/quick/copycat"

campaign: ## the long versions: SEEDS=50000 simulated runs, SEEDS_OF_TWO=10000 with two voters, an hour of the explorer, longer cluster tests
	@export COPYCAT_TEST_LONG=1 COPYCAT_SIM_SEEDS=$(SEEDS) COPYCAT_SIM_STEPS=$(STEPS)
	$(CARGO) test --profile quick --features planted-bugs --test explorer -- --nocapture no_order
	COPYCAT_SIM_VOTERS=2 COPYCAT_SIM_FIRST=1000000 COPYCAT_SIM_SEEDS=$(SEEDS_OF_TWO) \
		$(CARGO) test --profile quick --features planted-bugs --test simulation -- --nocapture random_faults
	$(CARGO) test --profile quick --features planted-bugs --test simulation -- --nocapture --include-ignored
	$(CARGO) test --profile quick --test cluster -- --nocapture
	.ci/fuzz "$${CARGO_TARGET_DIR:-target}/quick/copycat" 500

# Where the parts of the comparison are built.
COMPARE_TARGET ?= $(CURDIR)/target/compare

compare: ## the same load on this, etcd and ZooKeeper; writes docs/benchmarks.md (COMPARE="--rounds 1 --seconds 1" for a look)
	@benches/compare/peers/install.sh
	$(CARGO) build --release --target-dir $(COMPARE_TARGET)
	cd benches/compare
	$(CARGO) build --release --workspace --target-dir $(COMPARE_TARGET)
	$(COMPARE_TARGET)/release/compare peers --copycat $(COMPARE_TARGET)/release/copycat --bare $(COMPARE_TARGET)/release/bare \
		--data $(COMPARE_TARGET)/data --write ../../docs/benchmarks.md $(COMPARE)

# Their tool, and the program that it measures.
MEASURE = $(CARGO) build --release --target-dir $(COMPARE_TARGET) && \
	$(CARGO) build --release --manifest-path benches/compare/Cargo.toml --target-dir $(COMPARE_TARGET) && \
	$(COMPARE_TARGET)/release/compare

curve: ## ten million overwrites while the log is compacted, as a picture, into docs/ (CURVE="--puts 200000 --rounds 2" for a look)
	@$(MEASURE) curve --copycat $(COMPARE_TARGET)/release/copycat --data $(COMPARE_TARGET)/data \
		--picture docs/images/compaction.svg --write docs/benchmarks.md $(CURVE)

restart: ## a start with a million keys, and out of all that was ever written, into docs/ (RESTART="--keys 20000" for a look)
	@$(MEASURE) restart --copycat $(COMPARE_TARGET)/release/copycat --data $(COMPARE_TARGET)/data \
		--write docs/benchmarks.md $(RESTART)

bench: ## benchmarks
	@$(CARGO) bench --workspace

fix: ## formats, and mends what the lints can mend
	@$(CARGO) fmt --all
	$(CARGO) fmt --all --manifest-path benches/compare/Cargo.toml -- --config-path rustfmt.toml
	$(CARGO) clippy --workspace --all-targets --features planted-bugs --fix --allow-dirty --allow-staged

tools: ## installs what `verify` uses beyond the toolchain
	@$(CARGO) install --locked cargo-deny
