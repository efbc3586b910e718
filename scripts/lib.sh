# shellcheck shell=bash
# What several scripts need: messages, waiting for a condition, installing what is missing, free ports.
# Sourced, never run; it starts nothing and holds no state besides the port locks of its caller.

# shellcheck disable=SC2034  # read by those who source this
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "${0##*/}: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Milliseconds of the clock, for measuring and for deadlines.
now_ms() { local us=${EPOCHREALTIME/[.,]/}; echo "$((us / 1000))"; }

# await SECONDS COMMAND...: true as soon as COMMAND is, false when SECONDS have passed without it. Looks 20 times a
# second, after ten seconds once a second.
await() {
  local begin deadline nap
  begin=$(now_ms)
  deadline=$((begin + $1 * 1000))
  shift
  until "$@"; do
    (($(now_ms) < deadline)) || return 1
    nap=0.05
    (($(now_ms) < begin + 10000)) || nap=1
    sleep "$nap"
  done
}

# Runs a command as root: as we are, or through a sudo that asks nothing. Fails when there is neither.
as_root() {
  if ((EUID == 0)); then "$@"; elif have sudo && sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

# apt_install PACKAGE...: installs on Debian or Ubuntu, or ends with the one command that would.
apt_install() {
  local hint="install it with: sudo apt-get update && sudo apt-get install -y $*"
  have apt-get || die "this needs the Debian packages $* or their like here, and there is no apt-get"
  as_root true || die "not root and no sudo without a password; $hint"
  say "installing $*"
  as_root apt-get update -qq >&2 || say "apt-get update failed, trying with the lists at hand"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 ||
    die "apt-get could not do it; $hint"
}

# need COMMAND PACKAGE...: makes sure that COMMAND is there.
need() {
  local command=$1
  shift
  have "$command" && return
  apt_install "$@"
  hash -r
  have "$command" || die "$command is still missing after installing $*"
}

# claim_port: sets CLAIMED_PORT to a free TCP port on loopback. A lock on it, inherited by whatever the
# caller starts, keeps other runs of these scripts from the same port while any of those processes lives.
# Ports below the kernel's ephemeral range, so that no outgoing connection sits on one.
claim_port() {
  local dir=${TMPDIR:-/tmp}/sluice-ports-$EUID fd port
  mkdir -p "$dir"
  for _ in {1..200}; do
    port=$((20000 + RANDOM % 12000))
    exec {fd}>"$dir/$port"
    if flock -n "$fd" && ! port_answers "$port"; then
      # shellcheck disable=SC2034  # the caller's answer
      CLAIMED_PORT=$port
      return
    fi
    exec {fd}>&-
  done
  die "no free port between 20000 and 32000"
}

port_answers() { (exec 9<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
