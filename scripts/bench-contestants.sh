# shellcheck shell=bash disable=SC2034,SC2154
# How each contestant of scripts/bench.sh is started: its configuration, its port, its process ids.
# Sourced. A `start_NAME` sets PIDS (all processes of the contestant) and TARGET (where `sluice bench --addr` sends),
# and returns once it takes lines. All get the same producer: idempotent, acks=all, linger 5 ms, lz4.

PRODUCER=(enable.idempotence=true acks=all compression.codec=lz4)

# launch COMMAND...: starts it in the background with its output in the scratch folder.
launch() {
  "$@" >"$TMP/$NAME.out" 2>"$TMP/$NAME.err" </dev/null &
  PIDS+=($!)
  ALL_PIDS+=($!)
}

# A peer that does not start is left out; Sluice or a helper that does not start ends the run.
listening() {
  await 10 port_answers "$CLAIMED_PORT" || { say "$NAME does not listen: $(tail -3 "$TMP/$NAME.err")" && return 1; }
  TARGET=127.0.0.1:$CLAIMED_PORT
}

# Is the contestant on this machine?
present() {
  case $1 in
    sluice* | librdkafka*) true ;;
    kcat) have kcat ;;
    rsyslog) have rsyslogd && compgen -G "/usr/lib/*/rsyslog/omkafka.so" >/dev/null ;;
    syslog-ng) syslog_ng_root >/dev/null ;;
    fluentbit) have fluent-bit ;;
    vector) have vector ;;
    *) die "unknown contestant $1" ;;
  esac
}

http_status() { # http_status PORT PATH: the status code, or nothing
  local fd line
  exec {fd}<>"/dev/tcp/127.0.0.1/$1" || return
  printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&"$fd"
  read -r -t 2 -u "$fd" _ line _
  exec {fd}>&-
  echo "$line"
} 2>/dev/null

is_ready() { [[ $(http_status "$HEALTH" /ready) == 200 ]]; }

start_sluice() { # VARIABLE=VALUE...: on top of the defaults
  claim_port && HEALTH=$CLAIMED_PORT && claim_port
  launch env KAFKA_BOOTSTRAP_SERVERS="$BOOTSTRAP" KAFKA_TOPIC="$TOPIC" GATEWAY_LISTEN_ADDR=127.0.0.1 \
    GATEWAY_LISTEN_PORT="$CLAIMED_PORT" HTTP_PORT=off HEALTH_PORT="$HEALTH" LOG_LEVEL=warn "$@" "$SLUICE" serve
  await 20 is_ready || die "sluice is not ready: $(tail -3 "$TMP/$NAME.err")"
  TARGET=127.0.0.1:$CLAIMED_PORT
}

start_sluice-100k() { start_sluice BUFFER_MAX_MSGS=100000; }
start_sluice-linger0() { start_sluice KAFKA_LINGER_MS=0; }

start_librdkafka_with() { # LINGER
  claim_port
  launch "$LIBRDKAFKA_RAW" "$BOOTSTRAP" "$TOPIC" "$CLAIMED_PORT" "${PRODUCER[@]}" "linger.ms=$1" \
    queue.buffering.max.messages=100000
  await 10 grep -qs LISTEN= "$TMP/$NAME.out" || die "librdkafka_raw: $(tail -3 "$TMP/$NAME.err")"
  TARGET=127.0.0.1:$CLAIMED_PORT
}

start_librdkafka() { start_librdkafka_with 5; }
start_librdkafka-linger0() { start_librdkafka_with 0; }

# One stream only: it reads a pipe. Its input buffer keeps a few lines back until more come.
start_kcat() {
  local property options=()
  for property in "${PRODUCER[@]}" linger.ms=5 queue.buffering.max.messages=100000; do options+=(-X "$property"); done
  rm -f "$TMP/lines" && mkfifo "$TMP/lines"
  exec {KCAT_IN}<>"$TMP/lines"
  kcat -P -b "$BOOTSTRAP" -t "$TOPIC" "${options[@]}" <"$TMP/lines" >"$TMP/kcat.out" 2>"$TMP/kcat.err" {KCAT_IN}>&- &
  PIDS+=($!)
  ALL_PIDS+=($!)
  TARGET=-
}

start_rsyslog() {
  claim_port
  local brokers=\"${BOOTSTRAP//,/\",\"}\" params
  params=$(printf '"%s",' "${PRODUCER[@]}" linger.ms=5)
  cat >"$TMP/rsyslog.conf" <<CONF
global(workDirectory="$TMP" maxMessageSize="64k")
module(load="imptcp" threads="2")
module(load="omkafka")
template(name="raw" type="string" string="%rawmsg%")
input(type="imptcp" address="127.0.0.1" port="$CLAIMED_PORT" ruleset="kafka")
ruleset(name="kafka" queue.type="FixedArray" queue.size="500000" queue.dequeueBatchSize="4096"
        queue.workerThreads="1" queue.timeoutEnqueue="86400000") {
  action(type="omkafka" broker=[$brokers] topic="$TOPIC" template="raw" partitions.auto="on"
         resubmitOnFailure="on" keepFailedMessages="on" confParam=[${params%,}])
}
CONF
  launch rsyslogd -n -f "$TMP/rsyslog.conf" -i "$TMP/rsyslog.pid"
  listening
}

# The packages of rsyslog and syslog-ng exclude each other, so syslog-ng may also lie unpacked in a folder.
syslog_ng_root() {
  if have syslog-ng; then echo ""; elif [[ -x $PEERS/syslog-ng/usr/sbin/syslog-ng ]]; then echo "$PEERS/syslog-ng"; else return 1; fi
}

start_syslog-ng() {
  claim_port
  local root modules
  root=$(syslog_ng_root)
  modules=$(compgen -G "$root/usr/lib/syslog-ng/*/" | head -1)
  cat >"$TMP/syslog-ng.conf" <<CONF
@version: 3.38
options { stats-freq(0); use-dns(no); keep-hostname(yes); threaded(yes); log-msg-size(65536); };
source tcp { network(ip("127.0.0.1") port($CLAIMED_PORT) transport("tcp") flags(no-parse) max-connections(1000)
                     log-iw-size(200000) log-fetch-limit(1000)); };
destination kafka { kafka-c(bootstrap-servers("$BOOTSTRAP") topic("$TOPIC") message("\${MESSAGE}") workers(2)
  config(enable.idempotence("true") acks("all") linger.ms("5") compression.codec("lz4"))); };
log { source(tcp); destination(kafka); flags(flow-control); };
CONF
  launch env LD_LIBRARY_PATH="$root/usr/lib/syslog-ng:${LD_LIBRARY_PATH:-}" "$root/usr/sbin/syslog-ng" -F --no-caps \
    -f "$TMP/syslog-ng.conf" --module-path "${modules%/}" --persist-file "$TMP/syslog-ng.persist" \
    --pidfile "$TMP/syslog-ng.pid" --control "$TMP/syslog-ng.ctl"
  listening
}

start_fluentbit() {
  claim_port
  cat >"$TMP/fluent-bit.conf" <<CONF
[SERVICE]
    flush 0.1
    log_level warn
[INPUT]
    name tcp
    listen 127.0.0.1
    port $CLAIMED_PORT
    format json
    chunk_size 128
    buffer_size 256
    mem_buf_limit 256M
[OUTPUT]
    name kafka
    match *
    brokers $BOOTSTRAP
    topics $TOPIC
    message_key_field player
    queue_full_retries 0
    rdkafka.enable.idempotence true
    rdkafka.acks all
    rdkafka.linger.ms 5
    rdkafka.compression.codec lz4
CONF
  launch fluent-bit -c "$TMP/fluent-bit.conf"
  listening
}

start_vector() {
  claim_port
  mkdir -p "$TMP/vector"
  cat >"$TMP/vector.toml" <<CONF
data_dir = "$TMP/vector"
[sources.tcp]
type = "socket"
mode = "tcp"
address = "127.0.0.1:$CLAIMED_PORT"
decoding.codec = "json"
[sinks.kafka]
type = "kafka"
inputs = ["tcp"]
bootstrap_servers = "$BOOTSTRAP"
topic = "$TOPIC"
key_field = "player"
compression = "lz4"
encoding.codec = "json"
buffer = { type = "memory", max_events = 10000, when_full = "block" }
librdkafka_options = { "enable.idempotence" = "true", "acks" = "all", "linger.ms" = "5" }
CONF
  launch vector --quiet --threads 2 --config "$TMP/vector.toml"
  listening
}

stop_contestant() {
  [[ -n ${KCAT_IN:-} ]] && exec {KCAT_IN}>&- && unset KCAT_IN
  ((${#PIDS[@]})) || return 0
  kill "${PIDS[@]}" 2>/dev/null
  if ! await 10 all_gone; then kill -9 "${PIDS[@]}" 2>/dev/null; fi
  wait "${PIDS[@]}" 2>/dev/null
  PIDS=()
}

all_gone() { ! kill -0 "${PIDS[@]}" 2>/dev/null; }

install_peers() {
  if ! have kcat || ! have rsyslogd; then apt_install kcat rsyslog rsyslog-kafka; fi
  syslog_ng_root >/dev/null && return
  apt_install libivykis0 libnet1 libwrap0 libjson-c5 libpcre3
  mkdir -p "$PEERS/syslog-ng"
  (cd "$PEERS" && apt-get download -qq syslog-ng-core syslog-ng-mod-rdkafka && for deb in syslog-ng-*.deb; do
    dpkg -x "$deb" syslog-ng
  done) || die "syslog-ng: no packages"
}
