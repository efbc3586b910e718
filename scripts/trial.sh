# shellcheck shell=bash
# What scripts that try a gateway over HTTP share: one `sluice serve` with the embedded broker on free ports of loopback,
# and Python with the packages of requirements.txt. Sourced after lib.sh, never run; `trial_stop` ends what it started.

PYTHON_ENV=$ROOT/.cache/python
TRIAL_PATIENCE=30
GATEWAY='' HTTP='' HEALTH=''
TRIAL_DIR=$(mktemp -d "${TMPDIR:-/tmp}/sluice-trial.XXXXXX")
trap trial_abandon EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Makes sure of $PYTHON_ENV/bin: a virtual environment in the ignored folder .cache, made anew when requirements.txt changes.
python_env() {
  local wanted=$ROOT/scripts/requirements.txt lock
  need python3 python3 python3-venv
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "Python 3.10 or later is needed, this is $(python3 --version)"
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
  mkdir -p "$ROOT/.cache"
  exec {lock}>"$ROOT/.cache/python.lock"
  flock "$lock"
  if ! cmp -s "$wanted" "$PYTHON_ENV/requirements.txt"; then
    say "installing the packages of scripts/requirements.txt in .cache/python"
    rm -rf "$PYTHON_ENV"
    python3 -m venv "$PYTHON_ENV" || die "python3 -m venv failed"
    "$PYTHON_ENV/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted" >&2 ||
      die "pip could not install scripts/requirements.txt; it needs PyPI, or a mirror of it"
    cp "$wanted" "$PYTHON_ENV/requirements.txt"
  fi
  exec {lock}>&-
}

# Starts the gateway and waits until it can store records; sets HTTP and HEALTH to addresses. SLUICE_BIN names a binary
# to use instead of building one.
trial_start() {
  local bin=${SLUICE_BIN:-}
  if [[ -z $bin ]]; then
    (cd "$ROOT" && cargo build --quiet --profile fast --bin sluice) || die "the build failed"
    bin=${CARGO_TARGET_DIR:-$ROOT/target}/fast/sluice
  fi
  GATEWAY_LISTEN_ADDR=127.0.0.1 GATEWAY_LISTEN_PORT=0 HTTP_PORT=0 HEALTH_PORT=0 LOG_FORMAT=text \
    KAFKA_BOOTSTRAP_SERVERS=embedded "$bin" serve >/dev/null 2>"$TRIAL_DIR/log" </dev/null &
  GATEWAY=$!
  is_started_or_gone() { grep -q 'gateway\.start' "$TRIAL_DIR/log" || ! kill -0 "$GATEWAY" 2>/dev/null; }
  await "$TRIAL_PATIENCE" is_started_or_gone || die "the gateway says nothing of gateway.start"
  HTTP=$(start_field http) HEALTH=$(start_field health)
  [[ -n $HTTP && -n $HEALTH ]] || die "the gateway did not start: $(tail -n 5 "$TRIAL_DIR/log")"
  is_ready() { health /ready | head -n 1 | grep -q ' 200'; }
  await "$TRIAL_PATIENCE" is_ready || die "the gateway is not ready"
}

start_field() { sed -nE "/gateway\.start/s/.* $1=(127\.0\.0\.1:[0-9]+).*/\1/p" "$TRIAL_DIR/log" | head -n 1; }

# A page of the health listener.
health() {
  bash -c "exec 3<>/dev/tcp/${HEALTH/://} && printf 'GET $1 HTTP/1.0\r\n\r\n' >&3 && timeout 5 cat <&3" 2>/dev/null || true
}

# Records of one outcome so far.
records() { health /metrics | tr -d '\r' | sed -nE "s/^gateway_records_total\{outcome=\"$1\"\} //p"; }

# SIGTERM; checks that it ends well and that its account balances with nothing lost, and shows the last line.
trial_stop() {
  local code=0 last sum=0 name
  kill -TERM "$GATEWAY"
  wait "$GATEWAY" || code=$?
  GATEWAY=''
  last=$(tail -n 1 "$TRIAL_DIR/log")
  echo "$last"
  ((code == 0)) || die "the gateway ended with exit code $code"
  stop_field() { sed -nE "s/.*gateway\.stop.* $1=([0-9]+).*/\1/p" <<<"$last"; }
  for name in stored rejected not_stored dead_lettered dropped unknown; do sum=$((sum + $(stop_field $name))); done
  (($(stop_field accepted) == sum && $(stop_field lost) == 0)) || die "the account does not balance"
}

trial_abandon() {
  local code=$?
  if [[ -n $GATEWAY ]]; then
    kill -KILL "$GATEWAY" 2>/dev/null || true
    ((code == 0)) || tail -n 20 "$TRIAL_DIR/log" >&2
  fi
  rm -rf "$TRIAL_DIR"
  exit "$code"
}
