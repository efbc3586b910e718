#!/usr/bin/env bash
# The library's tests under AddressSanitizer, above all the module with unsafe calls into librdkafka: reads and writes
# outside of what was allocated, use after free, double free, leaks. Arguments go to the tests, such as `kafka::`.
#
# RUSTC_BOOTSTRAP lets the stable compiler, which ships the sanitizer's runtime, take the one unstable flag. librdkafka
# itself is compiled as always; its allocations are watched, since malloc and free are the sanitizer's.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address"
exec cargo test --profile fast --lib --target "$host" --target-dir "${CARGO_TARGET_DIR:-target}/asan" -- "$@"
