#!/usr/bin/env bash
# What is under deploy/, by promtool: configuration, rules, and the scenarios that the rules must fire in or not. promtool
# is the one on PATH or in PROMTOOL, else taken out of Debian's package `prometheus` (scripts/promlint.sh). What needs no
# tool is checked by tests/deploy.rs: that every metric, label and runbook section exists.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

promtool=$("$ROOT"/scripts/promlint.sh --path) || exit
cd "$ROOT"/deploy/prometheus
"$promtool" check config prometheus.yml # and the rules that it names
"$promtool" test rules alerts_test.yml

# The dashboard's expressions as rules, for promtool has no other way to read them; JSON is YAML.
need jq jq
rules=$(mktemp)
trap 'rm -f "$rules"' EXIT
jq '{groups: [{name: "dashboard", rules: [.panels[].targets[]?.expr | gsub("\\$__[a-z_]+"; "5m") | {record: "panel", expr: .}]}]}' \
  ../grafana/dashboards/sluice.json >"$rules"
"$promtool" check rules --lint none "$rules" >&2
