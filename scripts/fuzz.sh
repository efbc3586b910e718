#!/usr/bin/env bash
# Runs fuzz targets for FUZZ_SECONDS (600) each: those named, else all. Needs cargo-fuzz and a nightly toolchain.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
cargo fuzz --version >/dev/null 2>&1 || die "cargo-fuzz is missing; install it with: cargo install cargo-fuzz --locked"
cargo +nightly --version >/dev/null 2>&1 || die "no nightly toolchain; install it with: rustup toolchain install nightly --profile minimal"

read -ra targets <<<"${*:-$(cargo +nightly fuzz list | tr '\n' ' ')}"
for target in "${targets[@]}"; do
  say "fuzzing $target for ${FUZZ_SECONDS:-600} s"
  corpus=(fuzz/corpus/"$target")
  mkdir -p "${corpus[0]}"
  if [[ -d fuzz/seeds/$target ]]; then corpus+=(fuzz/seeds/"$target"); fi
  options=(-max_total_time="${FUZZ_SECONDS:-600}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1)
  if [[ -e fuzz/json.dict ]]; then options+=(-dict=fuzz/json.dict); fi
  cargo +nightly fuzz run "$target" "${corpus[@]}" -- "${options[@]}"
done
