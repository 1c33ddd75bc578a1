# Any stable toolchain from `rust-version` in Cargo.toml on will do. There is no rust-toolchain file
# on purpose: it would make rustup fetch a toolchain where a good one is installed.

TOOLS := $(CURDIR)/.tools
export PATH := $(TOOLS)/bin:$(PATH)
export ASSAY_TOOLS := $(TOOLS)/bin

.PHONY: test check setup help

help: ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: ## installs what the tests call: redis-server, helm, kubernetes-validate, grpcurl
	@scripts/setup.sh

test: setup ## everything
	cargo test --locked

check: ## format, lints, licences and sources of the dependencies, protos
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@scripts/check-optional.sh
