#!/usr/bin/env bash
# Measures Sluice and every peer found on this machine, in turn, against one sink, and prints the table.
#
#   scripts/bench.sh                     all rows, 3 rounds, 1,000,000 events a run
#   scripts/bench.sh --quick             one short round of everything: does it work?
#   scripts/bench.sh --rows bulk64,bulk1 --rounds 5 --count 2000000 --contestants kcat,sluice
#   scripts/bench.sh --install-peers     installs kcat, rsyslog and syslog-ng first (Debian, Ubuntu)
#
# Rows: bulk64, bulk1 (as fast as taken, 64 and 1 connections), write (one event a write at 48,000/s), latency
# (10,000/s), rss (idle, full speed, outage under flood), start; over HTTP, 64 connections: http (one event a request,
# one request in flight), http-pipelined (16 in flight), http-batch (100 events a request), http-delivered (S4's route,
# answered when stored, linger 10; then 5,000/s with linger 5), http-idle (memory of 10,000 keep-alive connections),
# http-outage (memory in an outage under flood: one event a request, and batches). SLUICE_BIN measures that binary and the helpers built
# beside it (cargo build --benches with the same profile) instead of building a release. --out FILE keeps the raw data.
# How the figures are taken: docs/benchmarks/README.md. Loopback only; ends what it started, by process id.
set -u
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/bench-contestants.sh
source "$ROOT/scripts/bench-contestants.sh"

ROWS=bulk64,bulk1,write,latency,rss,start,http,http-pipelined,http-batch,http-delivered,http-idle,http-outage
ROUNDS=3 COUNT=1000000 OUTAGE=10 IDLE=10000 SECONDS_PACED=5 CONTESTANTS='' OUT='' INSTALL=''
while (($#)); do
  case $1 in
    --rows) ROWS=$2 && shift ;;
    --rounds) ROUNDS=$2 && shift ;;
    --count) COUNT=$2 && shift ;;
    --contestants) CONTESTANTS=$2 && shift ;;
    --out) OUT=$2 && shift ;;
    --install-peers) INSTALL=yes ;;
    --quick) ROUNDS=1 COUNT=200000 OUTAGE=3 IDLE=1000 SECONDS_PACED=2 ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" && exit ;;
    *) die "unknown option $1; --help lists them" ;;
  esac
  shift
done

TOPIC=score_updates WARM=2000 FILLER=100 PEERS=$ROOT/target/peers
TMP=$(mktemp -d) PIDS=() ALL_PIDS=() NAME=setup
trap 'kill "${ALL_PIDS[@]}" 2>/dev/null; wait 2>/dev/null; rm -rf "$TMP"' EXIT
trap 'exit 130' INT TERM
RAW=${OUT:-$TMP/raw}
: >"$RAW" || die "cannot write $RAW"

wanted() { [[ ,$ROWS, == *,$1,* ]]; }
note() { echo "$*" >>"$RAW"; } # note ROW CONTESTANT METRIC VALUE

build() {
  if [[ -n ${SLUICE_BIN:-} ]]; then
    SLUICE=$(realpath "$SLUICE_BIN")
  else
    say "building (release)"
    (cd "$ROOT" && cargo build -q --release --bin sluice && cargo bench -q --profile release --no-run \
      --bench epoll_reader --bench epoll_responder --bench librdkafka_raw --bench watermarks) || die "the build failed"
    SLUICE=$ROOT/target/release/sluice
  fi
  EPOLL_READER=$(helper epoll_reader) LIBRDKAFKA_RAW=$(helper librdkafka_raw) WATERMARKS=$(helper watermarks)
  EPOLL_RESPONDER=$(helper epoll_responder)
  [[ -n $EPOLL_READER && -n $EPOLL_RESPONDER && -n $LIBRDKAFKA_RAW && -n $WATERMARKS ]] || die "helpers are not built: cargo build --benches"
}

helper() { # the newest build of a bench target beside the binary
  local found newest=''
  for found in "$(dirname "$SLUICE")"/deps/"$1"-*; do
    [[ -x $found && $found != *.d && (-z $newest || $found -nt $newest) ]] && newest=$found
  done
  echo "$newest"
}

start_sink() {
  mkfifo "$TMP/sink.in" "$TMP/sink.out" "$TMP/marks.in" "$TMP/marks.out"
  exec {SINK_IN}<>"$TMP/sink.in" {SINK_OUT}<>"$TMP/sink.out" {MARKS_IN}<>"$TMP/marks.in" {MARKS_OUT}<>"$TMP/marks.out"
  "$SLUICE" broker --brokers 3 --partitions 12 --topic $TOPIC <"$TMP/sink.in" >"$TMP/sink.out" 2>"$TMP/sink.err" &
  ALL_PIDS+=($!)
  read -r -t 10 -u "$SINK_OUT" BOOTSTRAP || die "no broker: $(cat "$TMP/sink.err")"
  BOOTSTRAP=${BOOTSTRAP#*=}
  "$WATERMARKS" "$BOOTSTRAP" $TOPIC <"$TMP/marks.in" >"$TMP/marks.out" 2>"$TMP/marks.err" &
  ALL_PIDS+=($!)
}

sink() { # a command for the broker
  echo "$1" >&"$SINK_IN"
  read -r -t 10 -u "$SINK_OUT" REPLY || die "the broker does not answer"
}

# arrived [N [SECONDS]]: waits for N records in the topic; sets ARRIVED and, in microseconds of the clock, ARRIVED_AT.
arrived() {
  echo "await ${1:-0} ${2:-60}" >&"$MARKS_IN"
  read -r -t 90 -u "$MARKS_OUT" ARRIVED ARRIVED_AT || die "no answer about watermarks"
}

# settled: waits until nothing more arrives; sets ARRIVED.
settled() {
  local before=-1
  while ((${ARRIVED:-0} != before)); do
    before=${ARRIVED:-0}
    sleep 0.2
    arrived
  done
}

cpu_ns() { # of all processes of the contestant
  local pid task ns total=0
  for pid in "${PIDS[@]}"; do
    for task in /proc/"$pid"/task/*; do
      read -r ns _ <"$task/schedstat" 2>/dev/null && ((total += ns))
    done
  done
  echo "$total"
}

memory_kib() { # memory_kib VmRSS|VmHWM: of all processes of the contestant
  local pid field kib total=0
  for pid in "${PIDS[@]}"; do
    while read -r field kib _; do
      [[ $field == "$1:" ]] && ((total += kib))
    done <"/proc/$pid/status"
  done
  echo "$total"
}

feed() { # feed CONNECTIONS LINES
  local connections=$1
  (($2 < connections)) && connections=1
  if [[ $TARGET == - ]]; then
    "$SLUICE" bench --addr - -c 1 -n $(($2 + FILLER)) >"$TMP/lines" 2>/dev/null
  else
    "$SLUICE" bench --addr "$TARGET" --health off -c "$connections" -n "$2" >/dev/null
  fi || say "$NAME: the load was not taken whole"
}

# The first records of an idempotent producer wait about half a second for its id: no contestant is timed on that.
warm_up() { # warm_up CONNECTIONS
  settled
  local base=$ARRIVED
  feed "$1" $WARM
  arrived $((base + WARM)) 15
  settled
}

bulk() { # bulk ROW CONTESTANT CONNECTIONS
  local cpu begun base
  NAME=$2
  "start_$2" || { stop_contestant && return; }
  warm_up "$3"
  base=$ARRIVED cpu=$(cpu_ns) begun=${EPOCHREALTIME/[.,]/}
  feed "$3" "$COUNT"
  arrived $((base + COUNT))
  cpu=$(($(cpu_ns) - cpu))
  if ((ARRIVED < base + COUNT)); then
    say "$1 $2: only $((ARRIVED - base)) of $COUNT arrived"
    note "$1 $2 missing $((base + COUNT - ARRIVED))"
  else
    note "$1 $2 rate $((COUNT * 1000 / (ARRIVED_AT - begun)))"
    note "$1 $2 cpu $((cpu / COUNT))"
    note "$1 $2 rss $(memory_kib VmHWM)"
  fi
  stop_contestant
}

number() { # number SECTION NAME: a figure of a JSON report on stdin
  grep -o "\"$1\":{.*" | grep -o "\"$2\":[0-9.]*" | head -1 | cut -d: -f2
}

paced_write() { # one event a write, 64 connections, 48,000/s: the gateway against an epoll loop that drops
  local load=(-c 64 -r 48000 -n $((48000 * SECONDS_PACED)) --json)
  NAME=sluice
  start_sluice
  "$SLUICE" bench --addr "$TARGET" --health "127.0.0.1:$HEALTH" "${load[@]}" --pid "${PIDS[0]}" >"$TMP/report" || say "write: incomplete"
  note "write sluice cpu $(number gateway cpu_ns_per_event <"$TMP/report")"
  stop_contestant
  NAME=epoll_reader
  claim_port
  rm -f "$TMP/epoll_reader.out" # of an earlier round
  launch "$EPOLL_READER" "$CLAIMED_PORT"
  await 5 grep -qs LISTEN= "$TMP/epoll_reader.out" || die "epoll_reader does not listen"
  "$SLUICE" bench --addr "127.0.0.1:$CLAIMED_PORT" --health off "${load[@]}" >/dev/null
  await 5 all_gone || die "epoll_reader does not end"
  note "write epoll_reader cpu $(sed -n 's/.*cpu_ns_per_line=//p' "$TMP/epoll_reader.out")"
  stop_contestant
}

# http_bench ROW OPTIONS...: the gateway that runs, by its own counters; the report is in $TMP/report.
http_bench() {
  local row=$1
  shift
  # Until the producer has its id and every partition has had a batch.
  "$SLUICE" bench --http --addr "127.0.0.1:$HTTP" --health off -c 64 --ack delivered -d 2s >/dev/null
  "$SLUICE" bench --http --addr "127.0.0.1:$HTTP" --health "127.0.0.1:$HEALTH" -c 64 --json --pid "${PIDS[0]}" "$@" \
    >"$TMP/report" || say "$row: incomplete: $(cut -c 1-300 "$TMP/report")"
}

answers_k() { # answers_k NAME: a rate of the report in thousands
  local rate
  rate=$(number answers "$1" <"$TMP/report")
  echo $((${rate%.*} / 1000))
}

start_sluice_http() { # VARIABLE=VALUE...: with its HTTP listener on $HTTP
  claim_port && HTTP=$CLAIMED_PORT
  start_sluice HTTP_PORT="$HTTP" EVENTS_TOPIC=events PLAYER_EVENTS_TOPIC=player.events.raw "$@"
}

# http_floor ROW OPTIONS...: an epoll loop that answers 202 and does nothing, under the same load.
http_floor() {
  local row=$1
  shift
  NAME=epoll_responder
  claim_port
  rm -f "$TMP/epoll_responder.out" # of an earlier round
  launch "$EPOLL_RESPONDER" "$CLAIMED_PORT"
  await 5 grep -qs LISTEN= "$TMP/epoll_responder.out" || die "epoll_responder does not listen"
  "$SLUICE" bench --http --addr "127.0.0.1:$CLAIMED_PORT" --health off -c 64 --json "$@" >"$TMP/report"
  await 5 all_gone || die "epoll_responder does not end"
  note "$row epoll_responder k_requests/s $(answers_k requests_per_second)"
  note "$row epoll_responder cpu_request $(sed -n 's/.*cpu_ns_per_request=//p' "$TMP/epoll_responder.out")"
  stop_contestant
}

http_single() { # http_single ROW OPTIONS...: one event a request, against the floor
  NAME=sluice
  start_sluice_http
  http_bench "$@" -n "$COUNT"
  note "$1 sluice k_requests/s $(answers_k requests_per_second)"
  note "$1 sluice cpu_request $(number gateway cpu_ns_per_request <"$TMP/report")"
  stop_contestant
  http_floor "$@" -n "$COUNT"
}

http_batch() { # 100 events a request; `rate` and `cpu` are those of bulk1's kcat, which gets the same lines
  NAME=sluice
  start_sluice_http
  http_bench http-batch --batch 100 -n $((COUNT * 2))
  # Both by accepted events: those that are turned away while the buffer is full cost a fraction, and are no events.
  local sent accepted cpu
  sent=$(grep -o '"sent":[0-9]*' "$TMP/report" | cut -d: -f2) accepted=$(number answers accepted <"$TMP/report")
  cpu=$(number gateway cpu_ns_per_event <"$TMP/report")
  note "http-batch sluice rate $(($(answers_k per_second) * accepted / sent))"
  note "http-batch sluice cpu $((cpu * sent / accepted))"
  note "http-batch sluice turned_away $((sent - accepted))"
  stop_contestant
}

http_delivered() {
  local quantile
  NAME=sluice
  start_sluice_http KAFKA_LINGER_MS=10
  http_bench http-delivered --path /api/v1/events --ack delivered -d "${SECONDS_PACED}s"
  local rate
  rate=$(number answers requests_per_second <"$TMP/report")
  note "http-delivered linger10 requests/s ${rate%.*}"
  note "http-delivered linger10 cpu_request $(number gateway cpu_ns_per_request <"$TMP/report")"
  for quantile in p50 p99; do note "http-delivered linger10 $quantile $(number answers $quantile <"$TMP/report")"; done
  stop_contestant
  start_sluice_http KAFKA_LINGER_MS=5
  http_bench http-delivered --ack delivered --pipeline 4 -r 5000 -d "${SECONDS_PACED}s"
  rate=$(number answers requests_per_second <"$TMP/report")
  note "http-delivered linger5-5000/s requests/s ${rate%.*}"
  note "http-delivered linger5-5000/s cpu_request $(number gateway cpu_ns_per_request <"$TMP/report")"
  for quantile in p50 p99; do note "http-delivered linger5-5000/s $quantile $(number answers $quantile <"$TMP/report")"; done
  stop_contestant
}

latency() { # latency CONTESTANT: 8 connections, 10,000/s, from due to the answer that it is stored
  NAME=$1
  "start_$1"
  warm_up 8
  "$SLUICE" bench --addr "$TARGET" --health off -c 8 -r 10000 -n $((10000 * SECONDS_PACED)) --ack --pid "${PIDS[0]}" --json \
    >"$TMP/report" || say "latency $1: incomplete"
  local quantile
  for quantile in p50 p99 p99_9 max; do note "latency $1 $quantile $(number answers $quantile <"$TMP/report")"; done
  note "latency $1 cpu $(number gateway cpu_ns_per_event <"$TMP/report")"
  stop_contestant
}

memory() { # defaults: idle, full speed, outage under flood, and what comes after the brokers are back
  local load back before
  NAME=sluice
  start_sluice
  note "rss sluice idle $(memory_kib VmRSS)"
  forget_peak
  feed 64 $((COUNT * 2))
  settled
  note "rss sluice steady $(memory_kib VmHWM)"
  forget_peak
  sink "down all"
  "$SLUICE" bench --addr "$TARGET" --health "127.0.0.1:$HEALTH" -c 64 -d "$((OUTAGE + 2))s" --settle 60s >"$TMP/flood.out" 2>&1 &
  load=$! && ALL_PIDS+=("$load")
  sleep "$OUTAGE"
  note "rss sluice outage $(memory_kib VmHWM)"
  arrived
  before=$ARRIVED
  sink "up all"
  back=${EPOCHREALTIME/[.,]/}
  arrived $((before + 1)) 30
  note "rss sluice first_record_ms $(((ARRIVED_AT - back) / 1000))"
  wait "$load" || say "rss: the flood was not accounted for: $(grep -E 'MISSING|FAULT|CUT' "$TMP/flood.out" | head -1)"
  stop_contestant
}

http_idle() { # keep-alive connections that have had one answer each
  local fd fds=() told
  NAME=sluice
  (($(ulimit -n) > IDLE + 100)) || ulimit -Sn $((IDLE + 200)) || die "http-idle needs $((IDLE + 200)) open files: ulimit -n"
  start_sluice_http HTTP_IDLE_TIMEOUT=10m
  note "http-idle sluice before $(memory_kib VmRSS)"
  for ((n_idle = 0; n_idle < IDLE; n_idle++)); do
    exec {fd}<>"/dev/tcp/127.0.0.1/$HTTP" && fds+=("$fd")
    printf 'POST /events HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}' >&"$fd"
  done
  settled
  # Asked for, not read: bash waits for a descriptor by select, which ends at 1024.
  told=$(curl -s "127.0.0.1:$HTTP/metrics" | awk '/^gateway_http_responses_total.status="202"/ { print $2 }')
  ((${told:-0} == IDLE)) || say "http-idle: ${told:-0} of $IDLE were told 202"
  note "http-idle sluice idle_$IDLE $(memory_kib VmRSS)"
  note "http-idle sluice peak $(memory_kib VmHWM)"
  for fd in "${fds[@]}"; do exec {fd}>&-; done
  stop_contestant
}

http_outage() { # all brokers away, senders go on: 202 until the buffer is full, then 503
  local load
  NAME=sluice
  for load in "--pipeline 16" "--batch 100" "--batch 100 --ack delivered"; do
    start_sluice_http
    "$SLUICE" bench --http --addr "127.0.0.1:$HTTP" --health off -c 64 -n "$COUNT" >/dev/null
    settled
    forget_peak
    sink "down all"
    # shellcheck disable=SC2086
    "$SLUICE" bench --http --addr "127.0.0.1:$HTTP" --health off -c 64 -d "${OUTAGE}s" $load >"$TMP/flood.out" 2>&1
    note "http-outage ${load// /_} peak $(memory_kib VmHWM)"
    sink "up all"
    stop_contestant
  done
}

forget_peak() { echo 5 >"/proc/${PIDS[0]}/clear_refs" 2>/dev/null || say "peak memory since start, not since the last row"; }

starting() {
  local begun port
  NAME=sluice
  claim_port && HEALTH=$CLAIMED_PORT && claim_port && port=$CLAIMED_PORT
  begun=${EPOCHREALTIME/[.,]/}
  KAFKA_BOOTSTRAP_SERVERS=$BOOTSTRAP GATEWAY_LISTEN_ADDR=127.0.0.1 GATEWAY_LISTEN_PORT=$port HTTP_PORT=off HEALTH_PORT=$HEALTH \
    LOG_LEVEL=warn "$SLUICE" serve 2>"$TMP/sluice.err" &
  PIDS=($!) ALL_PIDS+=($!)
  until port_answers "$port"; do
    ((${EPOCHREALTIME/[.,]/} - begun < 5000000)) || die "sluice does not listen: $(tail -3 "$TMP/sluice.err")"
  done
  note "start sluice listening_us $((${EPOCHREALTIME/[.,]/} - begun))"
  until is_ready; do ((${EPOCHREALTIME/[.,]/} - begun < 20000000)) || die "sluice is not ready"; done
  note "start sluice ready_us $((${EPOCHREALTIME/[.,]/} - begun))"
  stop_contestant
}

round() {
  local contestant
  for contestant in ${CONTESTANTS//,/ }; do
    present "$contestant" || continue
    wanted bulk1 || { { wanted bulk64 || wanted http-batch; } && [[ $contestant == kcat ]]; } && say "  bulk1 $contestant" && bulk bulk1 "$contestant" 1
    [[ $contestant == kcat ]] && continue
    wanted bulk64 && say "  bulk64 $contestant" && bulk bulk64 "$contestant" 64
  done
  wanted write && say "  write" && paced_write
  if wanted latency; then
    for contestant in sluice librdkafka sluice-linger0 librdkafka-linger0; do
      say "  latency $contestant" && latency "$contestant"
    done
  fi
  wanted rss && say "  rss" && memory
  wanted start && say "  start" && starting
  wanted http && say "  http" && http_single http
  wanted http-pipelined && say "  http-pipelined" && http_single http-pipelined --pipeline 16
  wanted http-batch && say "  http-batch" && http_batch
  wanted http-delivered && say "  http-delivered" && http_delivered
  wanted http-idle && say "  http-idle" && http_idle
  wanted http-outage && say "  http-outage" && http_outage
  return 0
}

# table ROW: one line a contestant, one column a metric, median (min-max); then ratios to kcat of the same run.
table() {
  grep -q "^$1 " "$RAW" || return
  printf '\n**%s** %s\n\n' "$1" "$2"
  awk -v row="$1" '
    function sorted(key,   n, i, j, t) {
      n = split(values[key], v, " ")
      for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j-1] + 0 > v[j] + 0; j--) { t = v[j]; v[j] = v[j-1]; v[j-1] = t }
      return n
    }
    function median(key,   n) { n = sorted(key); return n ? v[int((n + 1) / 2)] : "" }
    function show(key,   n) { n = sorted(key); return n == 0 ? "-" : n == 1 ? v[1] : v[int((n + 1) / 2)] " (" v[1] "-" v[n] ")" }
    { values[$1 "," $2 "," $3] = values[$1 "," $2 "," $3] " " $4 }
    $1 == row { if (!($2 in seen)) { seen[$2]; who[++people] = $2 } if (!($3 in met)) { met[$3]; what[++metrics] = $3 } }
    END {
      head = "| contestant |"; rule = "|---|"
      for (m = 1; m <= metrics; m++) { head = head " " what[m] " |"; rule = rule "---|" }
      ratio = ("rate" in met) && median("bulk1,kcat,cpu") != ""
      if (ratio) { head = head " rate / kcat | CPU / kcat |"; rule = rule "---|---|" }
      print head; print rule
      for (p = 1; p <= people; p++) {
        line = "| " who[p] " |"
        for (m = 1; m <= metrics; m++) line = line " " show(row "," who[p] "," what[m]) " |"
        key = row "," who[p] ","
        if (ratio && median(key "rate") != "")
          line = line sprintf(" %.2f | %.2f |", median(key "rate") / median("bulk1,kcat,rate"), median(key "cpu") / median("bulk1,kcat,cpu"))
        print line
      }
    }' "$RAW"
}

report() {
  printf '%s, %s cores, Linux %s, load %s\n' "$(date -u +%Y-%m-%d)" "$(nproc)" "$(uname -r)" "$(cut -d' ' -f1-3 /proc/loadavg)"
  echo "scripts/bench.sh, $ROUNDS rounds, $COUNT events a run; median (min-max); rate in k events/s, CPU in ns an event, memory in KiB"
  table bulk64 "64 connections, as fast as taken"
  table bulk1 "one connection (kcat: one pipe), as fast as taken"
  table write "one event a write, 64 connections, 48,000/s"
  table latency "8 connections, 10,000/s, due to stored, ms"
  table rss "defaults; idle, full speed, ${OUTAGE} s outage of all brokers under flood, brokers back to first record"
  table http "POST /events, one event a request, 64 connections, one request in flight each"
  table http-pipelined "the same, 16 requests in flight a connection"
  table http-batch "POST /events, 100 events a request (NDJSON), 64 connections; kcat: bulk1"
  table http-delivered "POST /api/v1/events?ack=delivered, closed loop; POST /events?ack=delivered, open loop; ms"
  table http-idle "$IDLE keep-alive connections over HTTP, one request each, then silent"
  table http-outage "${OUTAGE} s outage of all brokers under HTTP flood, 64 connections, by what they send"
  table start "process start to listening, to ready"
}

[[ -z $INSTALL ]] || install_peers
[[ -n $CONTESTANTS ]] || CONTESTANTS=kcat,sluice,librdkafka,sluice-100k,rsyslog,syslog-ng,fluentbit,vector
build
start_sink
if [[ $ROWS == *http* ]]; then
  sink "topic events 12"
  sink "topic player.events.raw 12"
fi
for ((n = 1; n <= ROUNDS; n++)); do
  say "round $n of $ROUNDS"
  round
done
report
exit 0
