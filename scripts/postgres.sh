#!/usr/bin/env bash
# Real PostgreSQL for tests and trials: one server on a free loopback port, in a folder of its own.
#
# A server named by DATABASE_URL or DB_HOST is used as it is (unless --own); else a container engine that answers; else
# Debian's server, which is installed if need be and run as the user postgres. A server that nobody stops ends by
# itself after POSTGRES_LIFETIME seconds (1800). It trusts everybody on loopback and syncs nothing to disk.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/service.sh"

# shellcheck disable=SC2034  # service.sh reads it
SERVICE_LIFETIME=${POSTGRES_LIFETIME:-1800}
POSTGRES_IMAGE=${POSTGRES_IMAGE:-postgres:17}
# A crash of the server is survived without it, a crash of the machine is not.
POSTGRES_OPTS=${POSTGRES_OPTS:--c fsync=off -c max_wal_size=2GB}
START_SECONDS=${POSTGRES_START_SECONDS:-60}

usage() {
  cat <<'TEXT'
usage: scripts/postgres.sh COMMAND
  start [--dir DIR] [--own] [--owner PID]
                  start a server; prints DATABASE_URL=... and POSTGRES_DIR=...
  stop DIR        stop it, and remove DIR if start chose it
  env DIR         the same two lines again
  run [start's options] -- COMMAND...
                  start, run COMMAND with DATABASE_URL and POSTGRES_DIR set, stop; COMMAND's exit code
  kill DIR        end it as a crash would; down DIR: in an orderly way, its clients cut off
  up DIR          start a killed one again, on its port and with its data
  fetch           only get what a start needs
--own             a server of our own even if the environment names one
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

state_write() { printf '%s=%q\n' RUNTIME "$RUNTIME" URL "$URL" PORT "$PORT" CHOSEN "$CHOSEN" BIN "$BIN" >"$DIR/state"; }

state_read() {
  DIR=$(cd "${1:?which DIR?}" 2>/dev/null && pwd) || die "no folder $1"
  [[ -e $DIR/state ]] || die "no server was started in $DIR"
  # shellcheck disable=SC1091
  . "$DIR/state"
}

state_print() { printf 'DATABASE_URL=%s\nPOSTGRES_DIR=%s\n' "$URL" "$DIR"; }

ours_only() { [[ $RUNTIME != given ]] || die "the server was given by the environment: it is not ours to touch"; }

given_url() {
  if [[ -n ${DATABASE_URL:-} ]]; then
    echo "$DATABASE_URL"
  elif [[ -n ${DB_HOST:-} ]]; then
    echo "postgres://${DB_USER:-postgres}${DB_PASSWORD:+:$DB_PASSWORD}@$DB_HOST:${DB_PORT:-5432}/${DB_NAME:-postgres}"
  fi
}

# Sets RUNTIME, and BIN for a local server: the newest that is installed.
runtime_find() {
  local engine
  BIN=""
  if [[ ${POSTGRES_RUNTIME:-} != local ]] && engine=$(engine_find "$POSTGRES_IMAGE"); then
    RUNTIME=container:$engine
    return
  fi
  RUNTIME=local
  bin_find || apt_install postgresql
  [[ -n $BIN ]] || bin_find || die "no initdb under /usr/lib/postgresql, nor in PATH"
}

bin_find() {
  BIN=$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | sort -V | tail -n 1 || true)
  [[ -n $BIN ]] || BIN=$(command -v initdb || true)
  BIN=${BIN%/initdb}
  [[ -n $BIN ]]
}

# The server refuses to be root. Whoever is root runs it as postgres, whom Debian's package brings.
as_server() { if ((EUID == 0)); then runuser -u postgres -- "$@"; else "$@"; fi; }

start() {
  folder_make postgres
  PORT="" BIN="" RUNTIME=given URL=""
  [[ $OWN == yes ]] || URL=$(given_url)
  if [[ -n $URL ]]; then
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
    PORT=$CLAIMED_PORT URL=postgres://postgres@127.0.0.1:$CLAIMED_PORT/postgres
    state_write
    [[ -e $DIR/watchdog ]] || watchdog_start
    make_server && launch && break
    # Somebody else may have taken the port between our look and the server's bind: take another.
    say "$(tail -n 5 "$DIR/log" 2>/dev/null)"
    service_end
    ((try < 3)) || die "postgres did not start"
  done
  begin_end
}

container() { echo "sluice-postgres-$PORT"; }

make_server() {
  rm -rf "$DIR/data" "$DIR/sockets"
  : >"$DIR/log"
  [[ $RUNTIME == local ]] || return 0
  mkdir "$DIR/data" "$DIR/sockets"
  if ((EUID == 0)); then chown postgres "$DIR" "$DIR/data" "$DIR/sockets" "$DIR/log"; fi
  (cd / && as_server "$BIN/initdb" -A trust -U postgres -E UTF8 --locale=C --no-sync -D "$DIR/data") >>"$DIR/log" 2>&1
}

# Starts the server on the data that there are, and waits until it answers.
launch() {
  if [[ $RUNTIME == local ]]; then
    (cd / && as_server "$BIN/pg_ctl" -s -w -t "$START_SECONDS" -D "$DIR/data" -l "$DIR/log" \
      -o "-c listen_addresses=127.0.0.1 -p $PORT -k $DIR/sockets $POSTGRES_OPTS" start) </dev/null >>"$DIR/log" 2>&1
    return
  fi
  local engine=${RUNTIME#*:}
  # shellcheck disable=SC2086  # options are words
  "$engine" start "$(container)" >/dev/null 2>&1 ||
    "$engine" run -d --name "$(container)" --network host -e POSTGRES_HOST_AUTH_METHOD=trust "$POSTGRES_IMAGE" \
      -c listen_addresses=127.0.0.1 -p "$PORT" $POSTGRES_OPTS >>"$DIR/log" 2>&1 || return 1
  await "$START_SECONDS" alive
}

alive() {
  case $RUNTIME in
  local) [[ -e $DIR/data/postmaster.pid ]] && pid_is_ours "$(head -n 1 "$DIR/data/postmaster.pid")" ;;
  container:*) "${RUNTIME#*:}" exec "$(container)" pg_isready -q -h 127.0.0.1 -p "$PORT" -U postgres >/dev/null 2>&1 ;;
  *) return 1 ;;
  esac
}

# halt MODE: `immediate` as a crash, `fast` in an orderly way.
halt() {
  case $RUNTIME in
  local)
    alive || return 0
    (cd / && as_server "$BIN/pg_ctl" -s -w -D "$DIR/data" -m "$1" stop) >>"$DIR/log" 2>&1
    ;;
  container:*)
    if [[ $1 == immediate ]]; then "${RUNTIME#*:}" kill "$(container)"; else "${RUNTIME#*:}" stop "$(container)"; fi >/dev/null 2>&1 || true
    ;;
  esac
}

service_end() {
  halt immediate || true
  if [[ $RUNTIME == container:* ]]; then "${RUNTIME#*:}" rm -f -v "$(container)" >/dev/null 2>&1 || true; fi
}

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
kill | down)
  state_read "$@"
  ours_only
  if [[ $command == kill ]]; then halt immediate; else halt fast; fi
  ;;
up)
  state_read "$@"
  ours_only
  alive || launch || die "postgres does not come up: $(tail -n 5 "$DIR/log")"
  ;;
fetch)
  runtime_find
  say "postgres: $RUNTIME ${BIN:-$POSTGRES_IMAGE}"
  ;;
watchdog) watchdog "$@" ;;
help | -h | --help) usage ;;
*) usage >&2 && exit 2 ;;
esac
