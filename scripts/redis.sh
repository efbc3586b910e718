#!/usr/bin/env bash
# Real Redis for tests and trials: one server on a free loopback port, in a folder of its own, in memory only.
#
# A server named by REDIS_URL is used as it is (unless --own); else a container engine that answers; else Debian's
# server, which is installed if need be. One that nobody stops ends by itself after REDIS_LIFETIME seconds (1800).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/service.sh"

# shellcheck disable=SC2034  # service.sh reads it
SERVICE_LIFETIME=${REDIS_LIFETIME:-1800}
REDIS_IMAGE=${REDIS_IMAGE:-redis:7}
REDIS_OPTS=${REDIS_OPTS:-}
START_SECONDS=${REDIS_START_SECONDS:-30}

usage() {
  cat <<'TEXT'
usage: scripts/redis.sh COMMAND
  start [--dir DIR] [--own] [--owner PID]
                  start a server; prints REDIS_URL=... and REDIS_DIR=...
  stop DIR        stop it, and remove DIR if start chose it
  env DIR         the same two lines again
  run [start's options] -- COMMAND...
                  start, run COMMAND with REDIS_URL and REDIS_DIR set, stop; COMMAND's exit code
  kill DIR        SIGKILL it; what it held is gone
  up DIR          start a killed one again, on its port and empty
  fetch           only get what a start needs
--own             a server of our own even if REDIS_URL is set
--owner PID       end the server when that process is gone
TEXT
}

parse_start() {
  DIR="" OWN=no OWNER="" CHOSEN=no REST=()
  while (($#)); do
    case $1 in
    --dir) DIR=${2:?--dir DIR} && shift ;;
    --own) OWN=yes ;;
    --owner) OWNER=${2:?--owner PID} && shift ;;
    --) shift && REST=("$@") && break ;;
    *) die "start: unknown option $1" ;;
    esac
    shift
  done
}

state_write() { printf '%s=%q\n' RUNTIME "$RUNTIME" URL "$URL" PORT "$PORT" CHOSEN "$CHOSEN" >"$DIR/state"; }

state_read() {
  DIR=$(cd "${1:?which DIR?}" 2>/dev/null && pwd) || die "no folder $1"
  [[ -e $DIR/state ]] || die "no server was started in $DIR"
  # shellcheck disable=SC1091
  . "$DIR/state"
}

state_print() { printf 'REDIS_URL=%s\nREDIS_DIR=%s\n' "$URL" "$DIR"; }

ours_only() { [[ $RUNTIME != given ]] || die "the server was given by the environment: it is not ours to touch"; }

runtime_find() {
  local engine
  if [[ ${REDIS_RUNTIME:-} != local ]] && engine=$(engine_find "$REDIS_IMAGE"); then
    RUNTIME=container:$engine
    return
  fi
  RUNTIME=local
  need redis-server redis-server
}

start() {
  folder_make redis
  PORT="" RUNTIME=given URL=""
  if [[ $OWN == no && -n ${REDIS_URL:-} ]]; then
    URL=$REDIS_URL
    state_write
    return
  fi
  if [[ -e $DIR/state ]]; then (state_read "$DIR" && ! alive) || die "a server is running in $DIR"; fi
  rm -f "$DIR/watchdog"
  runtime_find
  begin
  local try
  for try in 1 2 3; do
    claim_port
    PORT=$CLAIMED_PORT URL=redis://127.0.0.1:$CLAIMED_PORT/0
    state_write
    [[ -e $DIR/watchdog ]] || watchdog_start
    launch && break
    say "$(tail -n 5 "$DIR/log" 2>/dev/null)"
    service_end
    ((try < 3)) || die "redis did not start"
  done
  begin_end
}

container() { echo "sluice-redis-$PORT"; }

launch() {
  local options=(--port "$PORT" --bind 127.0.0.1 --save '' --appendonly no)
  if [[ $RUNTIME == local ]]; then
    # shellcheck disable=SC2086  # options are words
    (trap '' HUP && exec setsid redis-server "${options[@]}" --dir "$DIR" $REDIS_OPTS) >>"$DIR/log" 2>&1 </dev/null &
    echo $! >"$DIR/pid"
    disown $!
  else
    # shellcheck disable=SC2086
    "${RUNTIME#*:}" run -d --name "$(container)" --network host "$REDIS_IMAGE" redis-server "${options[@]}" $REDIS_OPTS >>"$DIR/log" 2>&1 || return 1
  fi
  await "$START_SECONDS" answers
}

answers() {
  local pong
  pong=$({
    exec 9<>"/dev/tcp/127.0.0.1/$PORT" || exit 0
    printf 'PING\r\n' >&9
    timeout 2 head -c 5 <&9
  } 2>/dev/null)
  [[ $pong == +PONG ]]
}

alive() {
  case $RUNTIME in
  local) kill -0 "$(cat "$DIR/pid" 2>/dev/null || echo 0)" 2>/dev/null && answers ;;
  container:*) answers ;;
  *) return 1 ;;
  esac
}

gone() { ! answers; }

halt() {
  case $RUNTIME in
  local)
    local pid
    pid=$(cat "$DIR/pid" 2>/dev/null || true)
    if [[ -n $pid && $(cat "/proc/$pid/comm" 2>/dev/null) == redis-server* ]]; then kill -KILL "$pid" 2>/dev/null || true; fi
    ;;
  container:*) "${RUNTIME#*:}" rm -f -v "$(container)" >/dev/null 2>&1 || true ;;
  esac
  await 10 gone || die "redis in $DIR does not end"
}

service_end() { halt; }

command=${1:-help}
shift || true
case $command in
start)
  parse_start "$@"
  start
  state_print
  ;;
stop) stop "$@" ;;
env)
  state_read "$@"
  state_print
  ;;
run) run "$@" ;;
kill)
  state_read "$@"
  ours_only
  halt
  ;;
up)
  state_read "$@"
  ours_only
  alive || launch || die "redis does not come up: $(tail -n 5 "$DIR/log")"
  ;;
fetch)
  runtime_find
  say "redis: $RUNTIME"
  ;;
watchdog) watchdog "$@" ;;
help | -h | --help) usage ;;
*) usage >&2 && exit 2 ;;
esac
