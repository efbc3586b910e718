# shellcheck shell=bash
# The life of a server that a script starts for tests: found or started, watched over, stopped, its folder removed.
# Sourced by kafka.sh, postgres.sh and redis.sh. The one that sources it says in SERVICE_LIFETIME how many seconds a
# forgotten server may live, and gives these functions and variables:
#   parse_start ARGUMENTS...   sets DIR, CHOSEN, OWNER and, behind `--`, REST
#   start                      starts it and writes DIR/state; RUNTIME=given if the environment named one
#   state_read DIR             reads DIR/state back
#   state_print                the lines NAME=VALUE by which a client finds it
#   service_end                ends what was started, whatever state it is in

# --- a folder of its own ---

folder_make() {
  if [[ -z $DIR ]]; then DIR=$(mktemp -d "${TMPDIR:-/tmp}/sluice-$1.XXXXXX") CHOSEN=yes; fi
  mkdir -p "$DIR" && DIR=$(cd "$DIR" && pwd)
}

# A pid counts only while the process still names our folder: the kernel may have given the number away.
pid_is_ours() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "$DIR"; }

forget() { if [[ $CHOSEN == yes ]]; then rm -rf "$DIR"; else rm -f "$DIR/state" "$DIR/watchdog"; fi; }

abandon() {
  service_end
  watchdog_stop
  forget
}

stop() {
  state_read "$1"
  if [[ $RUNTIME == given ]]; then forget; else abandon; fi
}

# From here on an end of this script ends what it has started; begin_end says that all went well.
begin() {
  trap abandon EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}
begin_end() { trap - EXIT INT TERM; }

# --- the watchdog ---

# Starts before the server does, so that there is never one that nobody would end; it holds the port locks as well.
watchdog_start() {
  setsid bash "$0" watchdog "$DIR" "$OWNER" >/dev/null 2>&1 </dev/null &
  echo $! >"$DIR/watchdog"
  disown $!
}

watchdog_stop() {
  local pid
  pid=$(cat "$DIR/watchdog" 2>/dev/null || true)
  if [[ -n $pid && $pid != "$$" ]] && pid_is_ours "$pid"; then kill -- "-$pid" 2>/dev/null || true; fi
}

# Ends a forgotten server: after its lifetime, or with the process that it was started for.
watchdog() {
  local owner=${2:-}
  owner_gone() { [[ -n $owner ]] && ! kill -0 "$owner" 2>/dev/null; }
  await "$SERVICE_LIFETIME" owner_gone || true
  stop "$1"
}

# --- a command beside it ---

# Runs COMMAND with a server. Signals go on to it; the server stops however it ends.
run() {
  parse_start "$@"
  ((${#REST[@]})) || die "run [start's options] -- COMMAND..."
  start
  local code=0 line
  child=
  trap run_end EXIT
  (
    trap - INT QUIT EXIT
    while read -r line; do export "${line?}"; done < <(state_print)
    exec "${REST[@]}"
  ) <&0 &
  child=$!
  # shellcheck disable=SC2064  # the child as it is now
  for signal in TERM INT HUP; do trap "kill -$signal $child 2>/dev/null || true" "$signal"; done
  # A wait that a trapped signal cut short says so with a code over 128 while the child still lives.
  while :; do
    wait "$child" && code=0 || code=$?
    kill -0 "$child" 2>/dev/null || break
  done
  exit "$code"
}

run_end() {
  if [[ -n $child ]] && kill -TERM "$child" 2>/dev/null; then wait "$child" || true; fi
  stop "$DIR"
}

# --- a container engine ---

engine_answers() { have "$1" && timeout 10 "$1" info >/dev/null 2>&1 && "$1" info 2>/dev/null | grep -q .; }

# engine_image ENGINE IMAGE
engine_image() {
  "$1" image inspect "$2" >/dev/null 2>&1 && return
  say "$1: pulling $2"
  timeout 600 "$1" pull -q "$2" >&2 || { say "$1 could not pull the image, going on without it"; return 1; }
}

# engine_find IMAGE: prints the engine that answers and has the image, or fails.
engine_find() {
  local engine
  for engine in docker podman; do
    if engine_answers "$engine" && engine_image "$engine" "$1"; then
      echo "$engine"
      return
    fi
  done
  return 1
}
