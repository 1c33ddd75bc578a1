#!/usr/bin/env bash
# Checks that need a tool which may be missing; a missing tool is said, not failed on.
set -euo pipefail
cd "$(dirname "$0")/.."

skip() { printf 'check: skipped: %s\n' "$*" >&2; }

if cargo deny --version >/dev/null 2>&1; then
    # Advisories need a database from the network and have a run of their own.
    cargo deny --locked check licenses bans sources
else
    skip "licences, bans and sources (no cargo-deny)"
fi

if command -v npm >/dev/null; then
    buf=.tools/node/node_modules/.bin/buf
    [ -x "$buf" ] || npm install --silent --no-fund --no-audit --prefix .tools/node @bufbuild/buf@1.75.0
    "$buf" lint
else
    skip "protos (no npm for buf)"
fi
