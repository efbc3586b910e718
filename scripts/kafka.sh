#!/usr/bin/env bash
# Real Apache Kafka for tests and trials: one or three nodes on free loopback ports, in a folder of their own.
#
# A broker named by KAFKA_BOOTSTRAP_SERVERS is used as it is (unless --own); else a container engine that answers;
# else Kafka from Maven Central on a local Java. Started clusters outlive this script, and end by themselves after
# KAFKA_LIFETIME seconds (1800) if nobody stops them. Any number of clusters may run side by side.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$(dirname "${BASH_SOURCE[0]}")/service.sh"
. "$(dirname "${BASH_SOURCE[0]}")/kafka-runtime.sh"
. "$(dirname "${BASH_SOURCE[0]}")/kafka-nodes.sh"

# shellcheck disable=SC2034  # service.sh reads it
SERVICE_LIFETIME=${KAFKA_LIFETIME:-1800}

usage() {
  cat <<'TEXT'
usage: scripts/kafka.sh COMMAND
  start [--nodes 1|3] [--dir DIR] [--own] [--authorizer] [--owner PID]
                          start a cluster; prints KAFKA_BOOTSTRAP_SERVERS=... and KAFKA_DIR=...
  stop DIR                stop it, and remove DIR if start chose it
  env DIR                 the same two lines again
  run [start's options] -- COMMAND...
                          start, run COMMAND with KAFKA_BOOTSTRAP_SERVERS and KAFKA_DIR set, stop; COMMAND's exit code
  kill DIR NODE           SIGKILL one node (1..3)
  node-start DIR NODE...  start killed nodes again, on their ports and with their data
  topic DIR create NAME PARTITIONS REPLICATION [KEY=VALUE...]
  topic DIR grow NAME PARTITIONS | delete NAME | describe NAME | config NAME KEY=VALUE...
  produce DIR TOPIC       write KEY<tab>VALUE lines from stdin with Kafka's own producer
  deny DIR TOPIC          refuse writes to TOPIC (needs --authorizer); allow DIR TOPIC takes that back
  fetch                   only get what a start needs
--own                     a cluster of our own even if KAFKA_BOOTSTRAP_SERVERS is set
--authorizer              one node of our own that can refuse writes
--owner PID               end the cluster when that process is gone
TEXT
}

parse_start() {
  NODES=1 DIR="" OWN=no AUTHORIZER=no OWNER="" CHOSEN=no REST=()
  while (($#)); do
    case $1 in
    --nodes) NODES=${2:?--nodes 1 or 3} && shift ;;
    --dir) DIR=${2:?--dir DIR} && shift ;;
    --own) OWN=yes ;;
    --owner) OWNER=${2:?--owner PID} && shift ;;
    --authorizer) AUTHORIZER=yes OWN=yes ;;
    --) shift && REST=("$@") && break ;;
    *) die "start: unknown option $1" ;;
    esac
    shift
  done
  [[ $NODES == 1 || $NODES == 3 ]] || die "--nodes is 1 or 3, not $NODES"
  # Controllers refuse each other until they have read the rules, which they do only once they agree.
  [[ $NODES == 1 || $AUTHORIZER == no ]] || die "--authorizer works with one node"
}

start() {
  folder_make kafka
  PORTS=() BOOTSTRAP="" RUNTIME=given
  if [[ $OWN == no && -n ${KAFKA_BOOTSTRAP_SERVERS:-} && $KAFKA_BOOTSTRAP_SERVERS != embedded ]]; then
    BOOTSTRAP=$KAFKA_BOOTSTRAP_SERVERS
    state_write
    return
  fi
  if [[ -e $DIR/state ]]; then (state_read "$DIR" && none_alive) || die "a cluster is running in $DIR"; fi
  rm -f "$DIR/watchdog"
  RUNTIME=$(kafka_runtime_find) || exit 1
  begin
  local try
  for try in 1 2 3; do
    configure
    [[ -e $DIR/watchdog ]] || watchdog_start
    nodes_start && break
    # Somebody else took a port between our look and Kafka's bind: take others.
    nodes_stop
    grep -qs -e BindException -e 'Address already in use' "$DIR"/node-*/log && ((try < 3)) || exit 1
  done
  begin_end
}

service_end() { nodes_stop; }

live_nodes() {
  local n live=0
  for ((n = 1; n <= NODES; n++)); do node_alive "$n" && live=$((live + 1)); done
  echo "$live"
}

node_kill() {
  state_read "$1"
  ours_only
  node_alive "${2:?which NODE?}" || die "node $2 is not running"
  node_signal KILL "$2"
  node_gone() { ! node_alive "$1"; }
  await 10 node_gone "$2" || die "node $2 does not end"
}

node_start() {
  local n
  state_read "$1"
  ours_only
  shift
  (($#)) || die "which NODE?"
  for n in "$@"; do
    [[ -e $(node_dir "$n")/server.properties ]] || die "no node $n in $DIR"
    ! node_alive "$n" || die "node $n is running"
  done
  # All at once: one of three controllers alone never gets ready.
  for n in "$@"; do node_launch "$n"; done
  nodes_ready "$(live_nodes)" "$@"
}

# admin CLASS ARGUMENTS...: one of Kafka's own tools against this cluster, without input unless TOOL_INPUT names a file.
admin() {
  local class=$1
  shift
  if [[ $RUNTIME == given ]]; then RUNTIME=$(kafka_runtime_find) || exit 1; fi
  [[ -e $DIR/log4j2.xml ]] || write_log4j
  (kafka_java "$DIR" "sluice-admin-$$" -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "-Dlog4j2.configurationFile=$DIR/log4j2.xml" "$class" \
    --bootstrap-server "$BOOTSTRAP" "$@") <"${TOOL_INPUT:-/dev/null}"
}

produce() {
  state_read "$1"
  TOOL_INPUT=/dev/stdin admin org.apache.kafka.tools.ConsoleProducer --topic "${2:?which TOPIC?}" --property parse.key=true
}

topic() {
  state_read "$1"
  local what=${2:-} name=${3:?which topic?} tool=org.apache.kafka.tools.TopicCommand pairs=() pair
  shift 3
  case $what in
  create)
    local partitions=${1:?how many PARTITIONS?} copies=${2:?which REPLICATION?}
    shift 2
    for pair in "$@"; do pairs+=(--config "$pair"); done
    admin $tool --create --topic "$name" --partitions "$partitions" --replication-factor "$copies" "${pairs[@]}"
    ;;
  grow) admin $tool --alter --topic "$name" --partitions "${1:?how many PARTITIONS?}" ;;
  delete) admin $tool --delete --topic "$name" ;;
  describe) admin $tool --describe --topic "$name" ;;
  config) admin kafka.admin.ConfigCommand --alter --entity-type topics --entity-name "$name" --add-config "$(IFS=,; echo "${*:?KEY=VALUE}")" ;;
  *) die "topic DIR create|grow|delete|describe|config" ;;
  esac
}

# Refused writes answer TOPIC_AUTHORIZATION_FAILED; the topic stays visible.
deny() {
  state_read "$1"
  [[ $AUTHORIZER == yes ]] || die "the cluster in $DIR was started without --authorizer"
  local acl=org.apache.kafka.tools.AclCommand topic=${3:?which TOPIC?}
  if [[ $2 == allow ]]; then
    admin $acl --remove --force --topic "$topic"
  else
    admin $acl --add --topic "$topic" --allow-principal User:ANONYMOUS --operation Describe --operation DescribeConfigs --operation Read
    admin $acl --add --topic "$topic" --deny-principal User:ANONYMOUS --operation Write
  fi
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
kill) node_kill "$@" ;;
node-start) node_start "$@" ;;
topic) topic "$@" ;;
produce) produce "$@" ;;
deny | allow) deny "${1:-}" "$command" "${2:-}" ;;
fetch) kafka_runtime_find ;;
watchdog) watchdog "$@" ;;
help | -h | --help) usage ;;
*) usage >&2 && exit 2 ;;
esac
