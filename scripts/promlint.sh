#!/bin/sh
# Lints a page of metrics with `promtool check metrics`: from stdin, or from a URL such as
#   scripts/promlint.sh http://127.0.0.1:7001/metrics
# With --path it prints where promtool is, for other checks.
# Prints what promtool finds and exits with its status: 0 clean, 3 lint findings, 1 not parsable; 2 usage;
# 4 page not fetched; 69 no promtool to be had.
# Uses the promtool on PATH or in PROMTOOL. Otherwise takes the one file out of Debian's or Ubuntu's package
# `prometheus` into target/tools, without installing the package: that would start a server on port 9090.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
tools="${CARGO_TARGET_DIR:-$here/target}/tools"

give_up() {
    echo "promlint: no promtool ($1); on Debian or Ubuntu: sudo apt-get install prometheus" >&2
    exit 69
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Fetches the package and keeps its promtool; the package lists are refreshed only if that is what is missing.
fetch() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || give_up "no apt"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    if ! apt-get -q download prometheus >log 2>&1; then
        as_root apt-get -q update >>log 2>&1 && apt-get -q download prometheus >>log 2>&1 || {
            cat log >&2
            give_up "the package could not be fetched"
        }
    fi
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool
    mkdir -p "$tools"
    mv usr/bin/promtool "$tools/promtool"
    cd "$here"
    rm -rf "$work"
    trap - EXIT
}

case "${1-}" in
-h | --help)
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
'' | --path | http://* | https://*) ;;
*)
    echo "promlint: reads stdin or http://host:port/path, not '$1'" >&2
    exit 2
    ;;
esac

promtool=${PROMTOOL:-$(command -v promtool || true)}
if [ -z "$promtool" ]; then
    promtool="$tools/promtool"
    [ -x "$promtool" ] || fetch
fi

if [ "${1-}" = --path ]; then
    echo "$promtool"
    exit 0
fi
if [ $# -eq 0 ]; then
    exec "$promtool" check metrics
fi
page=$(curl -fsS --max-time 10 "$1") || {
    echo "promlint: could not fetch $1" >&2
    exit 4
}
[ -n "$page" ] || {
    echo "promlint: $1 is an empty page" >&2
    exit 4
}
printf '%s\n' "$page" | "$promtool" check metrics
