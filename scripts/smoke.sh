#!/usr/bin/env bash
# S0's smoke and acceptance criteria AC1-AC6: a gateway, five scores through nc, and what Kafka then holds.
#
# usage: scripts/smoke.sh embedded|real
# `embedded` uses `sluice broker`, `real` uses scripts/kafka.sh (and so a broker named by KAFKA_BOOTSTRAP_SERVERS).
# SLUICE_BIN names a binary to test instead of building one. Prints PASS or FAIL a criterion; exit code 0 if all pass.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

KIND=${1:-}
[[ $KIND == embedded || $KIND == real ]] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
WORK=$(mktemp -d "${TMPDIR:-/tmp}/sluice-smoke.XXXXXX")
LOG=$WORK/gateway.log
: >"$LOG"
PATIENCE=30
FAILED=0 BROKER="" KAFKA_DIR="" GATEWAY=""

finish() {
  local code=$?
  [[ -z $GATEWAY ]] || kill -KILL "$GATEWAY" 2>/dev/null || true
  [[ -z $BROKER ]] || kill "$BROKER" 2>/dev/null || true
  [[ -z $KAFKA_DIR ]] || "$ROOT/scripts/kafka.sh" stop "$KAFKA_DIR" || true
  rm -rf "$WORK"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- what the criteria are made of ---

broker_start() {
  local line
  if [[ $KIND == embedded ]]; then
    mkfifo "$WORK/broker"
    "$BIN" broker --partitions 12 --topic "$TOPIC" >"$WORK/broker" 2>"$WORK/broker.log" </dev/null &
    BROKER=$!
    exec 7<"$WORK/broker"
    read -r -t "$PATIENCE" line <&7 || die "sluice broker did not start: $(tail -n 5 "$WORK/broker.log")"
    KAFKA=${line#KAFKA_BOOTSTRAP_SERVERS=}
  else
    line=$("$ROOT/scripts/kafka.sh" start --owner $$)
    KAFKA=$(sed -n 's/^KAFKA_BOOTSTRAP_SERVERS=//p' <<<"$line")
    KAFKA_DIR=$(sed -n 's/^KAFKA_DIR=//p' <<<"$line")
  fi
}

gateway_start() {
  GATEWAY_LISTEN_ADDR=127.0.0.1 GATEWAY_LISTEN_PORT=0 HTTP_PORT=0 HEALTH_PORT=0 LOG_LEVEL=debug LOG_FORMAT=text \
    KAFKA_BOOTSTRAP_SERVERS=$KAFKA KAFKA_TOPIC=$TOPIC "$BIN" serve >"$WORK/gateway.out" 2>"$LOG" </dev/null &
  GATEWAY=$!
  started_or_ended() { logged 'gateway\.start' || ! alive; }
  await "$PATIENCE" started_or_ended || return 1
  PORT=$(sed -nE '/gateway\.start/s/.* listen=127\.0\.0\.1:([0-9]+).*/\1/p' "$LOG" | head -n 1)
  HEALTH=$(sed -nE '/gateway\.start/s/.* health=127\.0\.0\.1:([0-9]+).*/\1/p' "$LOG" | head -n 1)
  [[ -n $PORT && -n $HEALTH ]]
}

logged() { grep -qE -- "$1" "$LOG"; }
log_count() { grep -cF -- "$1" "$LOG" || true; }
alive() { kill -0 "$GATEWAY" 2>/dev/null; }

# Sends stdin to the gateway over one connection: with nc, whatever its flavour calls "end when stdin does",
# else with bash itself.
send() {
  local help
  if ! have nc; then
    bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT && cat >&3"
    return
  fi
  help=$(nc -h 2>&1 || true)
  case $help in
  *send-only*) timeout "$PATIENCE" nc --send-only 127.0.0.1 "$PORT" ;;
  *-N*) timeout "$PATIENCE" nc -N 127.0.0.1 "$PORT" ;;
  *-q*) timeout "$PATIENCE" nc -q 0 127.0.0.1 "$PORT" ;;
  *) timeout "$PATIENCE" nc 127.0.0.1 "$PORT" ;;
  esac
}

http() {
  bash -c "exec 3<>/dev/tcp/127.0.0.1/$HEALTH && printf 'GET $1 HTTP/1.0\r\n\r\n' >&3 && timeout 5 cat <&3" 2>/dev/null || true
}
ready() { http /ready | head -n 1 | grep -q ' 200'; }

# The sum of a metric's samples whose labels hold the given text.
metric() {
  http /metrics | tr -d '\r' | awk -v name="$1" -v label="${2:-}" \
    'index($1, name) == 1 && substr($1, length(name) + 1, 1) ~ /^[{]?$/ && index($0, label) { sum += $NF } END { print sum + 0 }'
}
metric_is() { [[ $(metric "$1" "$2") == "$3" ]]; }
stored_is() { metric_is gateway_records_total 'outcome="stored"' "$1"; }

topic_lines() { "$BIN" tail "$TOPIC" --brokers "$KAFKA" --until-end 2>>"$WORK/tail.log"; }
in_topic() { topic_lines >"$WORK/topic" && wc -l <"$WORK/topic"; }

# scores NAME COUNT: COUNT lines of one player.
scores() { local n; for ((n = 1; n <= $2; n++)); do printf '{"lb":"global","player":"%s","score":%d}\n' "$1" "$n"; done; }

# check NAME COMMAND: runs a criterion and says how it went. WHY holds what was awaited last.
check() {
  local begin
  begin=$(now_ms)
  WHY=""
  if "$2"; then
    echo "PASS $1 ($(($(now_ms) - begin)) ms)"
  else
    echo "FAIL $1: $WHY"
    FAILED=1
  fi
}
# expect WHAT COMMAND...: COMMAND becomes true in time.
expect() { WHY=$1 && shift && await "$PATIENCE" "$@"; }

# --- the criteria ---

ac1_starts_and_names_its_topic() {
  WHY="gateway.start with listen= and health=" && gateway_start || return
  expect "topic.ready in the log" logged "topic\.ready.* name=$TOPIC partitions=[0-9]+" || return
  expect "/ready answers 200" ready
}

publish_ok_is() { (($(log_count publish.ok) == $1)); }

ac2_good_lines_are_published() {
  echo '{"lb":"global","player":"alice","score":10}' | send
  echo '{"lb":"global","player":"alice","score":50}' | send
  echo '{"lb":"global","player":"bob","score":7}' | send
  echo '{"lb":"global","player":"bob","score":99}' | send
  echo '{"lb":"global","player":"carol","score":5}' | send
  expect "five publish.ok in the log" publish_ok_is 5 || return
  expect "outcome stored counts five" stored_is 5
}

# Keys and scores as sent, each player's in order: alice 10 50, bob 7 99, carol 5.
ac4_end_offsets_grow() {
  local found
  WHY="five records more in the topic, $BEFORE before" && found=$(in_topic) && ((found == BEFORE + 5)) || return
  WHY="the topic holds other scores than were sent"
  found=$(sed -nE 's/.*"key":"(alice|bob|carol)".*"score":"?([0-9]+).*/\1 \2/p' "$WORK/topic" | tail -n 5 | sort -s -k 1,1 | tr '\n' ' ')
  WHY+=": $found"
  [[ $found == "alice 10 alice 50 bob 7 bob 99 carol 5 " ]]
}

ac3_malformed_lines_are_rejected() {
  printf '%s\n' 'not json' '{"lb":"global","player":"dave"' '{"lb":"global","player":"dave","score":-1}' \
    '{"lb":"","player":"dave","score":1}' '{"lb":"global","player":"erin","score":6}' | send
  expect "the good line after four bad ones is stored" stored_is 6 || return
  expect "four records count as rejected" metric_is gateway_records_total 'outcome="rejected"' 4 || return
  expect "input.malformed in the log" logged 'input\.malformed' || return
  expect "validation.failed field=score in the log" logged 'validation\.failed.* field=score' || return
  expect "validation.failed field=lb in the log" logged 'validation\.failed.* field=lb' || return
  WHY="the gateway ended" && alive
}

ac5_two_shells_at_once() {
  local one two
  exec 3<>"/dev/tcp/127.0.0.1/$PORT" 4<>"/dev/tcp/127.0.0.1/$PORT"
  expect "two connections open at once" metric_is gateway_connections 'listener="tcp"' 2 || return
  scores ann 1 >&3 && scores ben 1 >&4 && scores ann 1 >&3
  expect "lines of both are stored while both are open" stored_is 9 || return
  exec 3>&- 4>&-
  scores ann 1000 | send &
  one=$!
  scores ben 1000 | send &
  two=$!
  WHY="both shells end well" && wait "$one" && wait "$two" || return
  expect "all lines of both shells are stored" stored_is 2009
}

# stop_field NAME: a number of the last line.
stop_field() { sed -nE "\$s/.*gateway\.stop.* $1=([0-9]+).*/\1/p" "$LOG"; }
ended() { ! alive; }

ac6_drains_on_sigterm() {
  local code=0 name sum=0 sent accepted found
  sent=$(($(metric gateway_records_total) + 20000))
  scores zoe 20000 | send
  kill -TERM "$GATEWAY"
  expect "the gateway ends" ended || return
  wait "$GATEWAY" || code=$?
  WHY="exit code 0, it was $code" && ((code == 0)) || return
  WHY="a last line that begins with gateway.stop" && accepted=$(stop_field accepted) && [[ -n $accepted ]] || return
  for name in stored rejected not_stored dead_lettered dropped unknown; do
    WHY="$name= in the last line" && [[ -n $(stop_field $name) ]] || return
    sum=$((sum + $(stop_field $name)))
  done
  WHY="accepted=$accepted is the sum of the outcomes, $sum" && ((accepted == sum)) || return
  WHY="accepted=$accepted is what was sent, $sent" && ((accepted == sent)) || return
  WHY="nothing lost, nothing unread" && [[ $(stop_field lost) == 0 && $(stop_field unread_bytes) == 0 ]] || return
  found=$(in_topic)
  WHY="the topic grew by $((found - BEFORE)), not by stored=$(stop_field stored)" && ((found - BEFORE == $(stop_field stored)))
}

BIN=${SLUICE_BIN:-}
if [[ -z $BIN ]]; then
  (cd "$ROOT" && cargo build --profile fast --bin sluice)
  BIN=${CARGO_TARGET_DIR:-$ROOT/target}/fast/sluice
fi
TOPIC=score_updates
# On somebody's own broker, in a topic of ours.
if [[ $KIND == real && ${KAFKA_BOOTSTRAP_SERVERS:-embedded} != embedded ]]; then TOPIC=sluice_smoke_$$; fi
broker_start
echo "smoke: $KIND Kafka at $KAFKA, topic $TOPIC"
BEFORE=0
check "AC1 gateway starts and logs topic readiness" ac1_starts_and_names_its_topic
((FAILED)) || BEFORE=$(in_topic)
if ((FAILED == 0)); then
  check "AC2 well-formed lines are published" ac2_good_lines_are_published
  check "AC4 end offsets grow by what was sent" ac4_end_offsets_grow
  check "AC3 malformed lines are rejected, the gateway lives" ac3_malformed_lines_are_rejected
  check "AC5 concurrent connections" ac5_two_shells_at_once
  check "AC6 graceful shutdown drains, the last line balances" ac6_drains_on_sigterm
fi
if ((FAILED)); then
  echo "smoke: $KIND FAILED; the end of the gateway's log, without publish.ok:"
  grep -vF publish.ok "$LOG" | tail -n 30
  exit 1
fi
echo "smoke: $KIND passed"
