# Any stable toolchain from `rust-version` in Cargo.toml on will do. There is no rust-toolchain file
# on purpose: it would make rustup fetch a toolchain where a good one is installed.

TOOLS := $(CURDIR)/.tools
export PATH := $(TOOLS)/bin:$(PATH)
export ASSAY_TOOLS := $(TOOLS)/bin

.PHONY: test check fuzz chaos setup help

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: ## installs what the tests call: redis-server, valkey-server, openssl, helm, kubernetes-validate, grpcurl
	@scripts/setup.sh

# The data of real devices is not in this repository. Without it the tests that read it are left out,
# and said to be.
REAL := $(if $(ASSAY_VECTORS),,--skip android_vectors:: --skip apple_vectors:: --skip real_devices::)

test: setup ## everything; ASSAY_VECTORS names the directory of the data of real devices
	$(if $(ASSAY_VECTORS),,@echo 'ASSAY_VECTORS is not set: the tests on real devices are left out' >&2)
	cargo test --locked -- $(REAL)

fuzz: ## runs every fuzz target for FUZZ_SECONDS (60), see docs/fuzzing.md
	@scripts/fuzz.sh $(TARGETS)

chaos: setup ## runs sessions under faults for CHAOS_SECONDS (60) and CHAOS_ROUNDS (1000), see docs/chaos.md
	@scripts/chaos.sh $(RUNS)

check: ## format, lints, licences and sources of the dependencies, protos
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@scripts/check-optional.sh
