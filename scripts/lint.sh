#!/usr/bin/env bash
# rustfmt, clippy with warnings denied, and shell syntax; unused dependencies (cargo-machete), licences and bans
# (cargo-deny, deny.toml) and shellcheck where those tools are installed. --install gets the quick one, cargo-machete.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
TOOLS=$ROOT/.cache/tools
PATH=$TOOLS/bin:$PATH

if [[ ${1:-} == --install ]] && ! have cargo-machete; then
  cargo install --quiet --locked --root "$TOOLS" cargo-machete
fi

cargo fmt --check
cargo clippy --profile fast --all-targets -- -D warnings
for script in scripts/*.sh .ci/run; do bash -n "$script"; done
if have cargo-machete; then cargo machete --skip-target-dir; else say "cargo-machete is not installed: unused dependencies are not looked for"; fi
if have cargo-deny; then cargo deny check bans licenses sources; else say "cargo-deny is not installed: licences and bans are not looked at"; fi
if have shellcheck; then shellcheck -S warning -x -P SCRIPTDIR scripts/*.sh .ci/run; fi
