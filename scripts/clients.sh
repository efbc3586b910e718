#!/usr/bin/env bash
# The HTTP clients that people have, against a gateway with the embedded broker: curl, ab, wrk, hey, Python's requests.
#
# Every request asks for delivery, so that a success means stored. PASS or FAIL a client: each answer was a success, and
# the ledger has grown by what was sent, neither more nor less; of wrk, which leaves its last requests unanswered, by
# what was answered and no more than was in flight. What is missing is installed with apt and pip. Loopback only, half a
# minute at most.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/trial.sh"

COUNT=2000 CONNECTIONS=16 DEPTH=16 SECONDS_WRK=2
EVENT='{"type":"login","payload":{"user":"alice"}}'
FAILED=0 SENT=0 STORED=0
OUT=$TRIAL_DIR/out

has_stored() { (($(records stored) >= $1)); }

# check NAME EXTRA COMMAND...: runs it and compares. It sets SENT to what it had answered; EXTRA more may be stored.
check() {
  local name=$1 extra=$2 why='' begin grown
  shift 2
  SENT=0 begin=$(now_ms)
  "$@" || why="not all answers were successes: $(tail -n 3 "$OUT" | tr '\n' ' ')"
  await "$TRIAL_PATIENCE" has_stored $((STORED + SENT)) || true
  # The last ones of a client that is gone are still under way.
  ((extra == 0)) || await "$TRIAL_PATIENCE" is_quiet || true
  grown=$(($(records stored) - STORED))
  STORED=$((STORED + grown))
  [[ -n $why ]] || ((SENT > 0 && grown >= SENT && grown <= SENT + extra)) || why="sent $SENT, stored $grown"
  if [[ -z $why ]]; then echo "PASS $name: $SENT sent, $grown stored, $(($(now_ms) - begin)) ms"; else FAILED=1 && echo "FAIL $name: $why"; fi
}

# Whether everything that was taken has ended.
is_quiet() {
  local page
  page=$(health /metrics | tr -d '\r')
  awk '/^gateway_records_received_total / { taken = $2 } /^gateway_records_total/ { ended += $2 } END { exit taken != ended }' <<<"$page"
}

# curl_codes STATUS COUNT ARGUMENTS...: whether curl gets that status so often and no other.
curl_codes() {
  local status=$1 count=$2
  shift 2
  # What it says on stderr may be its progress, which some versions show with --parallel whatever they are told.
  curl --silent --max-time 20 --output /dev/null --write-out '%{http_code}\n' "$@" >"$OUT" 2>/dev/null
  SENT=$((SENT + count))
  [[ $(sort "$OUT" | uniq -c | awk '{ print $1, $2 }') == "$count $status" ]]
}

with_curl() {
  local url="http://$HTTP/events?ack=delivered" json='Content-Type: application/json'
  gzip -c <<<"$EVENT" >"$TRIAL_DIR/event.gz"
  curl_codes 200 1 "$url" -d "$EVENT" && # its own content type
    curl_codes 200 200 "$url&n=[1-200]" -H "$json" -d "$EVENT" && # one connection
    curl_codes 200 200 --parallel --parallel-max "$CONNECTIONS" "$url&n=[1-200]" -H "$json" -d "$EVENT" &&
    curl_codes 200 1 --http1.0 "$url" -H "$json" -d "$EVENT" &&
    curl_codes 200 1 "$url" -H "$json" -H 'Transfer-Encoding: chunked' -d "$EVENT" &&
    curl_codes 200 1 "$url" -H "$json" -H 'Expect: 100-continue' -d "$EVENT" &&
    curl_codes 200 1 "$url" -H "$json" -H 'Content-Encoding: gzip' --data-binary "@$TRIAL_DIR/event.gz"
}

# with_ab ARGUMENTS...: HTTP/1.0, one connection a request unless -k is given.
with_ab() {
  printf %s "$EVENT" >"$TRIAL_DIR/event"
  ab -q -s 20 -n "$COUNT" -c "$CONNECTIONS" -p "$TRIAL_DIR/event" -T application/json "$@" "http://$HTTP/events?ack=delivered" >"$OUT" 2>&1
  SENT=$COUNT
  grep -qE "^Complete requests: +$COUNT$" "$OUT" && grep -qE '^Failed requests: +0$' "$OUT" && ! grep -q '^Non-2xx' "$OUT" &&
    { [[ $* != *-k* ]] || grep -qE "^Keep-Alive requests: +$COUNT$" "$OUT"; }
}

# with_wrk DEPTH: so many requests in flight on each connection.
with_wrk() {
  cat >"$TRIAL_DIR/post.lua" <<LUA
wrk.method, wrk.body, wrk.headers["Content-Type"] = "POST", '$EVENT', "application/json"
local requests
function init() requests = wrk.format():rep($1) end
function request() return requests end
LUA
  wrk -t 2 -c "$CONNECTIONS" -d "${SECONDS_WRK}s" -s "$TRIAL_DIR/post.lua" "http://$HTTP/events?ack=delivered" >"$OUT" 2>&1
  SENT=$(sed -nE 's/^ *([0-9]+) requests in .*/\1/p' "$OUT")
  ! grep -qE 'Non-2xx|Socket errors' "$OUT"
}

  # Without -T it says text/html.
with_hey() {
  hey -n "$COUNT" -c "$CONNECTIONS" -t 20 -m POST -d "$EVENT" "$@" "http://$HTTP/events?ack=delivered" >"$OUT" 2>&1
  SENT=$COUNT
  [[ $(grep -E '^ *\[[0-9]+\]' "$OUT" | tr -s ' \t' ' ') == " [200] $COUNT responses" ]]
}

with_requests() {
  SENT=$("$PYTHON_ENV/bin/python" "$ROOT/scripts/clients.py" "http://$HTTP" 2>"$OUT") || return 1
}

need curl curl
need ab apache2-utils
need wrk wrk
have hey || (apt_install hey) || say "there is no package hey here: it is left out"
python_env
if [[ ${1:-} == --fetch ]]; then exit; fi
trial_start
check curl 0 with_curl
check ab 0 with_ab
check 'ab -k' 0 with_ab -k
check wrk "$CONNECTIONS" with_wrk 1
check "wrk, $DEPTH deep" $((CONNECTIONS * DEPTH)) with_wrk "$DEPTH"
if have hey; then
  check hey 0 with_hey
  check 'hey, no keep-alive' 0 with_hey -disable-keepalive
fi
check requests 0 with_requests
trial_stop
((FAILED == 0)) || exit 1
