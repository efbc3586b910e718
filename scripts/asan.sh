#!/usr/bin/env bash
# The library's tests under AddressSanitizer, above all the module with unsafe calls into librdkafka: reads and writes
# outside of what was allocated, use after free, double free, leaks. Arguments go to the tests, such as `kafka::`.
#
# Without the default features: the C libraries that they bring are built with the sanitizer as well, and librdkafka's
# configure, which knows nothing of it, then fails to link them.
# RUSTC_BOOTSTRAP lets the stable compiler, which ships the sanitizer's runtime, take the one unstable flag. librdkafka
# itself is compiled as always; its allocations are watched, since malloc and free are the sanitizer's.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address"
# rdkafka forgets one reference to the main queue of each client that it makes (24 bytes and the queue): known, not ours.
suppressions=${CARGO_TARGET_DIR:-target}/asan/lsan.supp
mkdir -p "$(dirname "$suppressions")"
printf 'leak:%s\n' 'rdkafka::config::FromClientConfigAndContext' 'rdkafka::client::Client<' > "$suppressions"
LSAN_OPTIONS="suppressions=$(realpath "$suppressions")${LSAN_OPTIONS:+:$LSAN_OPTIONS}"
export LSAN_OPTIONS
exec cargo test --profile fast --no-default-features --lib --target "$host" --target-dir "${CARGO_TARGET_DIR:-target}/asan" -- "$@"
